"""What a configuration may say: where the files are, which keys exist, what composes with what."""

import difflib
import inspect
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError

from src.processes import on_first_process, run_id
from src.sweeps import sweep_of

_HERE = Path(__file__).resolve().parent
#: The `conf/` folder: inside the package when installed from a wheel, beside it in a checkout.
CONF_DIR = str(_HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf")

#: The only packages whose classes a configuration may name. A checkpoint carries its configuration, so without this
#: list a checkpoint from a stranger could call anything.
TARGET_PACKAGES = ("src.data.", "src.methods.", "src.networks.", "torch.optim.", "lightning.pytorch.")


# An id that is drawn once for a configuration and stays in it, so that a resumed run goes on under it.
OmegaConf.register_new_resolver("new_id", lambda: secrets.token_hex(4), replace=True, use_cache=True)


def _sweep_name(run_dir: str) -> str | None:
    """`${sweep_name:<run folder>}`: the name of the sweep that a run is a job of, null for a single run."""
    sweep = sweep_of(Path(run_dir))
    return None if sweep is None else sweep.name


def _chosen(*groups: str) -> list[str]:
    """`${chosen:method,data}`: what was chosen from these groups of the configuration, where anything was."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return [str(choices[group]) for group in groups if choices.get(group)]


OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True)
OmegaConf.register_new_resolver("chosen", _chosen, replace=True)
OmegaConf.register_new_resolver("run_id", run_id, replace=True, use_cache=True)
OmegaConf.register_new_resolver("on_first_process", on_first_process, replace=True)


class ConfigError(ValueError):
    """A configuration that cannot mean anything; the message is one sentence for the user."""


def one_or_more(value: str | Sequence[str]) -> list[str]:
    """What a key that takes one value or a list of them was given, as a list."""
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
    from src.stages import Stage, TrainConfig

    _check_keys("", cfg, [f.name for f in fields(TrainConfig)])
    _check_numbers("", cfg, get_type_hints(TrainConfig))
    for key in ("epochs", "validate_every", "eval_batch_size"):
        _check_at_least_one(key, cfg.get(key))
    _check_data("data", cfg.data)
    for name, stage in cfg.stages.items():
        _check_keys(f"stages.{name}", stage, [f.name for f in fields(Stage)])
        _check_numbers(f"stages.{name}", stage, get_type_hints(Stage))
        _check_at_least_one(f"stages.{name}.epochs", stage.get("epochs"))
        _check_data(f"stages.{name}.data", stage.data)
        if stage.get("mine"):
            _check_keys(f"stages.{name}.mine", stage.mine, [*(f.name for f in fields(Mining)), "checkpoint"])
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

    return [name for name in _data_sets() if columns <= _provided(compose(f"data/{name}").data)]


def _data_sets() -> list[str]:
    return sorted(file.stem for file in Path(CONF_DIR, "data").glob("*.yaml"))


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


#: What a file in `conf/data/` says.
DATA_KEYS = ("name", "root", "layout", "tasks", "ap", "trials", "trial_seed", "extra", "holdout")
#: What a pool says instead, and what each of its sources may say beyond the keys of its own file.
POOL_KEYS = ("name", "sources", "target", "layout", "tasks", "ap", "trials", "trial_seed", "holdout")
SOURCE_KEYS = ("role", "first_ids", "use")


def _check_data(key: str, data: DictConfig) -> None:
    if "sources" not in data:
        _check_keys(key, data, DATA_KEYS)
        return
    _check_keys(key, data, POOL_KEYS)
    for name, source in (data.sources or {}).items():
        _check_keys(f"{key}.sources.{name}", source, (*DATA_KEYS, *SOURCE_KEYS))


def complete_pools(cfg: DictConfig) -> None:
    """Fills in what pools do not say: of a source, what its file in `conf/data/` says; the tasks, from the target.

    A stage whose data is one of the pool's sources has it as a data set of its own.

    Args:
        cfg: The composed configuration of a command, with `data`, `stages` or both; changed in place.

    Raises:
        ConfigError: If a source has no file, is a pool itself, the target is not among the sources, or a stage takes a
            source and there is no pool.
    """
    nodes = {"data": cfg} | {f"stages.{name}.data": stage for name, stage in cfg.get("stages", {}).items()}
    for key, node in nodes.items():
        try:
            data = node.get("data")
        except InterpolationResolutionError as error:
            raise ConfigError(
                f"{key} is a source of the pool, but data={cfg.data.name} is no pool or has no target; pass data=pool "
                "with data.sources and data.target, or another choice of stages."
            ) from error
        if data and "sources" in data:
            with open_dict(data):
                _complete_pool(key, data)
        elif data and set(SOURCE_KEYS) & set(data):
            if data.get("first_ids") is not None:
                raise ConfigError(f"{key} is trained on whole; remove first_ids from that source of the pool.")
            said: Any = OmegaConf.to_container(data)
            with open_dict(node):
                node.data = {name: value for name, value in said.items() if name not in SOURCE_KEYS}


def _complete_pool(key: str, pool: DictConfig) -> None:
    from hydra import compose

    for name, said in (pool.sources or {}).items():
        if said and "_target_" in said.get("layout", {}):
            continue
        _check_keys(f"{key}.sources", OmegaConf.create({name: None}), _data_sets(), owner="a pool's sources")
        base = compose(f"data/{name}").data
        if "sources" in base:
            raise ConfigError(f"{key}.sources.{name} is a pool itself; name its sources instead.")
        OmegaConf.set_struct(base, False)
        pool.sources[name] = OmegaConf.merge(base, said or {})
    if pool.target is not None and pool.target not in (pool.sources or {}):
        raise ConfigError(f"{key}.target is {pool.target!r}, expected one of {', '.join(pool.sources or [])}, or null.")
    target = pool.sources[pool.target] if pool.target is not None else {"tasks": [], "ap": "standard"}
    for name in ("tasks", "ap"):
        if pool[name] is None:
            pool[name] = target[name]


def check_targets(cfg: DictConfig) -> None:
    """Checks every class that a configuration names; see `check_target`."""
    for key, node in _targets(cfg):
        check_target(key, node)


def check_target(key: str, node: DictConfig) -> None:
    """Refuses a `_target_` outside the allowed packages and keys that its signature does not have."""
    from hydra.utils import get_object

    target = node["_target_"]
    if not target.startswith(TARGET_PACKAGES):
        raise ConfigError(
            f"{key}._target_ is {target!r}, but configurations may only name classes of {', '.join(TARGET_PACKAGES)}."
        )
    parameters = inspect.signature(get_object(target), eval_str=True).parameters
    _check_numbers(key, node, {name: parameter.annotation for name, parameter in parameters.items()})
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    _check_keys(key, node, [*parameters, "_target_", "_partial_"], owner=target)


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


def _check_keys(key: str, node: DictConfig, allowed: Collection[str], owner: str = "") -> None:
    for name in node:
        if name in allowed:
            continue
        path = f"{key}.{name!s}" if key else str(name)
        near = difflib.get_close_matches(str(name), allowed, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        shown = ", ".join(a for a in allowed if not a.startswith("_"))
        raise ConfigError(f"Unknown key {path!r}: {owner or key or 'the configuration'} takes {shown}{hint}")


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
