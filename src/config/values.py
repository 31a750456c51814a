"""Values of a configuration against the types that they shall have."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from omegaconf import DictConfig, ListConfig, OmegaConf

from src.runtime.errors import ConfigError, did_you_mean
from src.runtime.ranges import Above, AtLeast, Between

#: What YAML 1.1 and people write for true and false, and Hydra's command line takes for text.
_WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "text", NoneType: "null"}
_RANGES = (AtLeast, Above, Between)


class _Unfit(Exception):  # noqa: N818
    """A value that is none of its type; the message says what else is expected, if that says more than the type."""


def check_values(key: str, node: DictConfig, types: Mapping[str, Any]) -> None:
    """Refuses values of other types, and writes those that are meant but spelled otherwise as they are meant.

    `no` becomes false where only true or false can be meant, a single value a list where there is a list of them, and a
    number text where only text can be.

    Args:
        key: Of the node, for the message.
        node: Of a configuration; changed in place.
        types: Name → annotation, as in a signature, for the names that have one.

    Raises:
        ConfigError: Names the key, what was found and what is expected.
    """
    for name, kind in types.items():
        # An interpolation is checked where it is written, what is missing (???) by who needs it.
        if name not in node or OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name):
            continue
        value = node[name]
        plain = OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
        meant = fitted(f"{key}.{name}" if key else name, plain, kind)
        if type(meant) is not type(plain) or meant != plain:
            node[name] = meant


def fitted(key: str, value: Any, kind: Any) -> Any:
    """A value as its type has it.

    Args:
        key: Where it stands, for the message.
        value: Plain: numbers, text, lists, mappings.
        kind: The annotation; classes that no plain value can be of fit everything.

    Raises:
        ConfigError: If the value can mean nothing of that type.
    """
    try:
        return _fit(value, kind)
    except _Unfit as unfit:
        expected = str(unfit) or _expected(kind)
        if not expected:
            return value
        raise ConfigError(f"{key} is {_shown(value)}, expected {expected}{_nearest(value, kind)}") from None


def _fit(value: Any, kind: Any) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any or isinstance(value, Mapping):  # a node's own values are checked where its class is
        return value
    if origin is Annotated:
        fit = _fit(value, parts[0])
        for limits in parts[1:]:
            if isinstance(limits, _RANGES) and not isinstance(fit, list) and fit not in limits:
                raise _Unfit(str(limits))
        return fit
    if origin in (Union, UnionType):
        return _fit_one_of(value, parts)
    if origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in parts):
            return value
        raise _Unfit
    if _is_sequence(kind):
        return _fit_all(value, parts, exact=origin is tuple and ... not in parts)
    return _fit_plain(value, kind)


def _fit_one_of(value: Any, kinds: Sequence[Any]) -> Any:
    """The value as the first of the types that it is of, else as the first that it can be written as."""
    reasons = []
    for kind in sorted(kinds, key=lambda kind: not _is_exactly(value, kind)):  # stable
        try:
            return _fit(value, kind)
        except _Unfit as unfit:
            if str(unfit) and _is_exactly(value, kind):
                reasons.append(str(unfit))
    raise _Unfit(*reasons[:1])


def _is_exactly(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return _is_exactly(value, get_args(kind)[0])
    return type(value) is kind or (isinstance(value, list) and _is_sequence(kind))


def _fit_all(value: Any, parts: Sequence[Any], exact: bool) -> list[Any]:
    if value is None:
        raise _Unfit
    values = value if isinstance(value, list) else [value]
    if not exact:
        kinds = [parts[0] if parts else Any] * len(values)
    elif len(values) == len(parts):
        kinds = list(parts)
    else:
        raise _Unfit
    return [_fit(one, kind) for one, kind in zip(values, kinds, strict=True)]


def _fit_plain(value: Any, kind: Any) -> Any:
    if kind is NoneType and value is None:
        return None
    if kind is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in _WORDS:
            return _WORDS[value.lower()]
        if value in (0, 1):
            return bool(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and number and float(value).is_integer():
        return int(value)
    if kind is float and number:
        return value
    if kind in (str, Path) and (number or isinstance(value, str)):
        return str(value)
    raise _Unfit


def _is_sequence(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str


def _kinds(kind: Any) -> list[Any]:
    """The types of a union, without their bounds."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kinds(parts[0])
    return [found for part in parts for found in _kinds(part)] if origin in (Union, UnionType) else [kind]


def _expected(kind: Any) -> str:
    """A type in words; empty for one that only a class of Python says."""
    said: list[str] = []
    for one in _kinds(kind):
        if get_origin(one) is Literal:
            said += [str(choice) for choice in get_args(one)]
        elif _is_sequence(one):
            inner = [part for part in get_args(one) if part is not ...]
            fixed = get_origin(one) is tuple and ... not in get_args(one)
            of = _expected(inner[0]) if inner else ""
            said.append(f"{len(inner)} values, each {of}" if fixed else f"a list, each {of}" if of else "a list")
        elif one in _NAMES:
            said.append(_NAMES[one])
    said = list(dict.fromkeys(said))
    return " or ".join(filter(None, [", ".join(said[:-1]), *said[-1:]]))


def _nearest(value: Any, kind: Any) -> str:
    choices = [str(choice) for one in _kinds(kind) if get_origin(one) is Literal for choice in get_args(one)]
    return did_you_mean(value, choices)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
