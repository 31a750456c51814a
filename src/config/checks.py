"""Checks of a configuration: which keys exist, what composes with what."""

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from src.config.schema import SOURCE_KEYS, Stage, TrainConfig
from src.runtime.command import CONF_DIR
from src.runtime.errors import ConfigError, did_you_mean

#: The only packages whose classes a configuration may name. A checkpoint carries its configuration, so without this
#: list a checkpoint from a stranger could call anything.
TARGET_PACKAGES = ("src.data.", "src.methods.", "src.networks.", "src.training.", "torch.optim.", "lightning.pytorch.")


def one_or_more(value: str | Sequence[str]) -> list[str]:
    """List of what a key that takes one value or several was given."""
    return [value] if isinstance(value, str) else [*value]


def check_config(cfg: DictConfig) -> None:
    """Refuses unknown keys and targets, and text where a number belongs, before anything is built.

    Hydra itself refuses an unknown key on the command line. This finds those in YAML files, where Hydra would merge
    them silently or fail long after the start.

    Args:
        cfg: The composed configuration of `src.train`.

    Raises:
        ConfigError: Names the key, what is allowed there and the nearest allowed name.
    """
    from src.retrieval import Mining

    check_keys("", cfg, [f.name for f in fields(TrainConfig)])
    _check_numbers("", cfg, get_type_hints(TrainConfig))
    for key in ("epochs", "validate_every", "eval_batch_size"):
        _check_at_least_one(key, cfg.get(key))
    _check_data("data", cfg.data)
    for name, stage in cfg.stages.items():
        check_keys(f"stages.{name}", stage, [f.name for f in fields(Stage)])
        _check_numbers(f"stages.{name}", stage, get_type_hints(Stage))
        _check_at_least_one(f"stages.{name}.epochs", stage.get("epochs"))
        _check_data(f"stages.{name}.data", stage.data)
        if stage.get("mine"):
            check_keys(f"stages.{name}.mine", stage.mine, [*(f.name for f in fields(Mining)), "checkpoint"])
    check_targets(cfg)
    for name, stage in cfg.stages.items():
        _check_needs(cfg.method, f"stages.{name}", stage.data)


def _check_needs(method: DictConfig, key: str, data: DictConfig) -> None:
    """Refuses a method on a data set that lacks what the method cannot do without."""
    from hydra.utils import get_object

    if lacking := get_object(method._target_).needed(method) - _provided(data):
        raise ConfigError(
            f"{method._target_.rpartition('.')[2]} needs {', '.join(sorted(lacking))} and {data.name} ({key}.data) has "
            f"none; data sets that have: {', '.join(_data_sets_with(lacking))}."
        )


@cache
def _data_sets_with(columns: frozenset[str]) -> list[str]:
    from hydra import compose

    return [name for name in data_sets() if columns <= _provided(compose(f"data/{name}").data)]


def data_sets() -> list[str]:
    """Names of the data sets that `conf/data/` has files of."""
    return sorted(file.stem for file in Path(CONF_DIR, "data").glob("*.yaml") if file.stem != "default")


def _provided(data: DictConfig) -> frozenset[str]:
    """The columns that a data set can have; with side data only the tables can tell, so all of them."""
    from hydra.utils import get_object

    from src.data.table import COLUMNS

    if data.get("extra"):
        return frozenset(COLUMNS)
    if "sources" in data:
        return frozenset().union(*(_provided(source) for source in (data.sources or {}).values()))
    provides: frozenset[str] = get_object(data.layout._target_).provides
    return provides


def _check_data(key: str, data: DictConfig) -> None:
    """Refuses unknown keys of a data set, of a pool and of its sources."""
    from hydra.utils import get_object

    from src.config.data_node import DATA_MODULE, RUN_OPTIONS

    arguments = inspect.signature(get_object(data.get("_target_", DATA_MODULE))).parameters
    options = [name for name in arguments if name not in RUN_OPTIONS]
    if "sources" not in data:
        check_keys(key, data, ("_target_", "name", "root", *options))
        return
    check_keys(key, data, ("_target_", "name", "sources", "target", *options))
    if data.get("extra"):
        raise ConfigError(f"{key}.extra is {data.extra}, but side data are a source's: {key}.sources.<name>.extra.")
    for name, source in (data.sources or {}).items():
        check_keys(f"{key}.sources.{name}", source, ("name", "root", *options, *SOURCE_KEYS))


def check_targets(cfg: DictConfig) -> None:
    """Checks every class that a configuration names; see `check_target`."""
    for key, node in _targets(cfg):
        check_target(key, node)


def check_target(key: str, node: DictConfig) -> None:
    """Refuses a `_target_` outside the allowed packages and keys that its signature does not have."""
    from hydra.utils import get_object
    from lightning.pytorch import LightningDataModule

    from src.config.data_node import ANCHORS

    target = node["_target_"]
    if not target.startswith(TARGET_PACKAGES):
        raise ConfigError(
            f"{key}._target_ is {target!r}, but configurations may only name classes of {', '.join(TARGET_PACKAGES)}."
        )
    named = get_object(target)
    parameters = inspect.signature(named, eval_str=True).parameters
    _check_numbers(key, node, {name: parameter.annotation for name, parameter in parameters.items()})
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    anchors = ANCHORS if isinstance(named, type) and issubclass(named, LightningDataModule) else ()
    check_keys(key, node, [*parameters, *anchors, "_target_", "_partial_"], owner=target)


def _check_at_least_one(key: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ConfigError(f"{key} is {value}, expected at least 1.")


_NUMBERS = {int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def _check_numbers(key: str, node: DictConfig, types: Mapping[str, Any]) -> None:
    """Refuses text, and fractions, where only other numbers can be meant."""
    for name, kind in types.items():
        if name not in node or OmegaConf.is_interpolation(node, name):  # that one is checked where it is written
            continue
        allowed, value = _plain_types(kind), node[name]
        fraction = isinstance(value, float) and not value.is_integer() and float not in allowed
        if not allowed & {str, Any} and (fraction or isinstance(value, str)):
            expected = " or ".join(said for number, said in _NUMBERS.items() if number in allowed)
            if expected:
                raise ConfigError(f"{key + '.' if key else ''}{name} is {value!r}, expected {expected}.")


def _plain_types(kind: Any) -> set[Any]:
    """The types that a union is of; the types of its values for a choice of values."""
    if get_origin(kind) in (Union, UnionType):
        return set().union(*(_plain_types(part) for part in get_args(kind)))
    return {type(value) for value in get_args(kind)} if get_origin(kind) is Literal else {kind}


def check_keys(key: str, node: DictConfig, allowed: Collection[str], owner: str = "") -> None:
    """Refuses keys that are not allowed, and names the nearest one that is."""
    for name in node:
        if name in allowed:
            continue
        path = f"{key}.{name!s}" if key else str(name)
        shown = ", ".join(a for a in allowed if not a.startswith("_"))
        raise ConfigError(
            f"Unknown key {path!r}: {owner or key or 'the configuration'} takes {shown}{did_you_mean(name, allowed)}"
        )


def _targets(node: Any, key: str = "") -> Iterator[tuple[str, DictConfig]]:
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node
        children: Any = node.keys()
    elif isinstance(node, ListConfig):
        children = range(len(node))
    else:
        return
    for child in children:
        # An interpolated child (`stages.main.data: ${data}`) is checked where it is written.
        if not OmegaConf.is_interpolation(node, child) and not OmegaConf.is_missing(node, child):
            yield from _targets(node[child], f"{key}.{child}" if key else str(child))
