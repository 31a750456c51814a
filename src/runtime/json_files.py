"""Records as JSON files keep them: a frozen dataclass to plain values and back."""

import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from src.runtime.whole_files import write_atomically

Record = TypeVar("Record")


def write_json(path: Path, content: Any) -> None:
    """Writes a record or plain values, whole or not at all; see `as_plain`.

    Raises:
        OSError: Names the file and what is wrong.
    """
    write_atomically(path, json.dumps(as_plain(content), indent=2, allow_nan=False) + "\n")


def as_plain(value: Any) -> Any:
    """A record as its file gives it back: dictionaries, lists, text, numbers.

    JSON has no numbers but finite ones: one that is not known (NaN) is null, and an infinity its name, `"inf"`.

    >>> as_plain({5: (1, math.nan, math.inf)})
    {'5': [1, None, 'inf']}
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): as_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def record_of(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """A record from what `as_plain` made of it; keys that it does not have are left alone.

    Args:
        kind: A dataclass of plain values, other records, `X | None`, tuples and dictionaries of them.
        values: Its fields; those with a default may be missing. Where a number must be, null means unknown, NaN.

    Raises:
        ValueError: If a field is missing.
    """
    hints = get_type_hints(kind)
    known = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in values:
            known[field.name] = _typed(hints[field.name], values[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name!r} is missing in {', '.join(map(str, values)) or 'an empty record'}.")
    return kind(**known)


def _typed(kind: Any, value: Any) -> Any:
    """A plain value as its type hint has it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (some,) = (part for part in parts if part is not type(None))
        return None if value is None else _typed(some, value)
    if is_dataclass(kind):
        return record_of(kind, value)  # type: ignore[arg-type]
    if kind is float:
        return math.nan if value is None else float(value)
    if origin is tuple:
        return tuple(_typed(parts[0], entry) for entry in value)
    if origin is dict:
        return {parts[0](key): _typed(parts[1], entry) for key, entry in value.items()}
    return value
