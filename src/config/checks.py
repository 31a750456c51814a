"""Checks of a configuration: which keys and values there are, what composes with what."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, get_type_hints

from omegaconf import DictConfig

from src.config.absolute_paths import make_absolute
from src.config.data_node import DATA_MODULE, RUN_OPTIONS
from src.config.holdouts import share_holdout
from src.config.logger_packages import check_loggers
from src.config.pools import complete_pools, data_sets
from src.config.retrieval_options import check_retrieval
from src.config.schema import SOURCE_KEYS, Stage, TrainConfig
from src.config.targets import check_keys, check_targets, signature
from src.config.trainer_options import check_sync_batchnorm, check_trainer
from src.config.values import check_values
from src.data.layouts.pool import Role, Use
from src.runtime.errors import ConfigError
from src.runtime.ranges import Positive


def one_or_more(value: str | Sequence[str]) -> list[str]:
    """List of what a key that takes one value or several was given."""
    return [value] if isinstance(value, str) else [*value]


def check_command(cfg: DictConfig, schema: type) -> None:
    """Completes the configuration of a command, and refuses what it cannot mean before any work is done.

    Hydra itself refuses an unknown key on the command line. This finds those in YAML files too, where Hydra would merge
    them silently or fail long after the start; and values that are none, in every group.

    Args:
        cfg: As composed; changed in place: pools are completed, values written as they are meant (`check_values`).
        schema: The command's class in `src.config.schema`.

    Raises:
        ConfigError: Names the key, what was found, what is allowed there and the nearest allowed name.
        StepError: If there is no such step of post-processing, or it has no such option.
    """
    _check_node("", cfg, schema)
    complete_pools(cfg)
    make_absolute(cfg)
    if cfg.get("data") is not None:
        _check_data("data", cfg.data)
    check_loggers(cfg.get("logger"))
    if "trainer" in cfg:
        check_trainer(cfg.trainer)
    if "retrieval" in cfg:
        check_retrieval("retrieval", cfg.retrieval)
    damage = cfg.get("contamination")
    nothing = damage is not None and damage.get("kind") is None and damage.get("share") is None
    check_targets(cfg, leave_out=["contamination"] if nothing else [])


def check_config(cfg: DictConfig) -> None:
    """The same for `src.train`, whose stages are checked too.

    Args:
        cfg: The composed configuration of `src.train`.

    Raises:
        ConfigError: See `check_command`; also if a method needs what a data set lacks.
    """
    from src.retrieval import Mining

    check_command(cfg, TrainConfig)
    check_sync_batchnorm(cfg.trainer)
    if not cfg.stages:
        raise ConfigError("stages is empty; a run needs at least one.")
    for name, stage in cfg.stages.items():
        _check_node(f"stages.{name}", stage, Stage)
        _check_data(f"stages.{name}.data", stage.data)
        if stage.get("mine"):
            check_keys(f"stages.{name}.mine", stage.mine, [*(f.name for f in fields(Mining)), "checkpoint"])
            check_values(f"stages.{name}.mine", stage.mine, get_type_hints(Mining, include_extras=True))
        _check_needs(cfg.method, f"stages.{name}", stage.data)
        stage.epochs = min(stage.epochs, cfg.get("epochs_at_most") or stage.epochs)
        for part in (stage.transforms, stage.optim):
            _make(part)
    share_holdout(cfg)
    _check_start(cfg)
    _check_callbacks(cfg)


def _make(node: DictConfig) -> None:
    """Makes what a node describes, which refuses what does not fit together, and says so itself."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        instantiate(node, _convert_="all")
    except InstantiationException as error:
        raise (error.__cause__ or error) from error


def _check_node(key: str, node: DictConfig, schema: Any) -> None:
    """Refuses a node that lacks keys, has others, or has values of other types than a dataclass says."""
    check_keys(key, node, [field.name for field in fields(schema)])
    for field in fields(schema):
        if field.default is MISSING and field.name not in node:
            path = f"{key}.{field.name}" if key else field.name
            raise ConfigError(f"{path} is missing; leave ~{path} away, or say what it shall be.")
    check_values(key, node, get_type_hints(schema, include_extras=True))


def _check_callbacks(cfg: DictConfig) -> None:
    """Refuses a run without the checkpoints that the next stage, resume and the test need."""
    for name in {"last", cfg.test_checkpoint}:
        if name not in (cfg.get("callbacks") or {}):
            raise ConfigError(
                f"callbacks has no {name!r}, which writes stages/<stage>/{name}.ckpt; take callbacks=default and "
                "remove single ones of it."
            )


def _check_start(cfg: DictConfig) -> None:
    """Refuses to start at a stage that there is not, or that has no weights to start from."""
    if cfg.start is None:
        return
    if cfg.start not in cfg.stages:
        raise ConfigError(f"start is {cfg.start!r}, expected one of the stages {', '.join(map(str, cfg.stages))}.")
    if cfg.stages[cfg.start].get("load", "previous") == "previous" and cfg.start != next(iter(cfg.stages)):
        raise ConfigError(
            f"start={cfg.start}, but the stage loads the weights of the one before; pass "
            f"stages.{cfg.start}.load=<checkpoint>."
        )


def _check_needs(method: DictConfig, key: str, data: DictConfig) -> None:
    """Refuses a method on a data set that lacks what the method cannot do without."""
    from hydra.utils import get_object

    from src.methods.base import ReIDMethod

    kind = get_object(method._target_)
    if not (isinstance(kind, type) and issubclass(kind, ReIDMethod)):
        raise ConfigError(f"method._target_ is {method._target_!r}, expected a class derived from ReIDMethod.")
    if lacking := kind.needed(method) - _provided(data):
        raise ConfigError(
            f"{method._target_.rpartition('.')[2]} needs {', '.join(sorted(lacking))} and {data.name} ({key}.data) has "
            f"none; data sets that have: {', '.join(_data_sets_with(lacking))}."
        )


@cache
def _data_sets_with(columns: frozenset[str]) -> list[str]:
    from hydra import compose

    return [name for name in data_sets() if columns <= _provided(compose(f"data/{name}").data)]


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
    """Refuses unknown keys and values of a data set, of a pool and of its sources."""
    from hydra.utils import get_object

    arguments = signature(get_object(data.get("_target_", DATA_MODULE)))
    options = {name: kind for name, kind in arguments.items() if name not in RUN_OPTIONS}
    check_values(key, data, options)
    if "sources" not in data:
        check_keys(key, data, ("_target_", "name", "root", *options))
        return
    if "root" in data:
        raise ConfigError(
            f"Unknown key '{key}.root': with {key}.sources, as an experiment of a pool has, {key} is a pool, which has "
            f"none; pass {key}=pool, or another experiment."
        )
    check_keys(key, data, ("_target_", "name", "sources", "target", *options))
    if data.get("extra"):
        raise ConfigError(f"{key}.extra is {data.extra}, but side data are a source's: {key}.sources.<name>.extra.")
    for name, source in (data.sources or {}).items():
        check_keys(f"{key}.sources.{name}", source, ("name", "root", *options, *SOURCE_KEYS))
        check_values(
            f"{key}.sources.{name}", source, {**options, "role": Role, "use": Use, "first_ids": Positive | None}
        )
