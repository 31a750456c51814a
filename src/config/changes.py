"""Changes that a resumed run may be told: where things are, on which machine, for how much longer."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from src.config.absolute_paths import make_absolute
from src.config.pools import complete_pools
from src.runtime.errors import ConfigError

#: Settings that do not change what is trained.
_MAY_CHANGE = re.compile(
    r"""^(
        paths\.(data_dir|output_dir)
        |(data|stages\.\w+\.data)\.(sources\.\w+\.)?(layout\.)?root
        |workers
        |trainer\.(accelerator|devices|num_nodes|strategy|log_every_n_steps|enable_progress_bar|enable_model_summary)
        |logger(\..*)?
        |(stages\.\w+\.)?epochs|epochs_at_most
    )$""",
    re.VERBOSE,
)
_ABSENT = object()


def change(saved: DictConfig, started: Sequence[str], given: Sequence[str], finished: Collection[str]) -> None:
    """Applies what the command line of a resumed run says beyond that of its start.

    Args:
        saved: The run's configuration, as its checkpoint has it; changed in place.
        started: Overrides that the run was started with.
        given: Overrides that it shall go on with; those that were given before may be said again.
        finished: Stages that others have gone on from.

    Raises:
        ConfigError: Names a setting that cannot change.
    """
    keys = {_key(override) for override in given}
    kept = [override for override in started if _key(override) not in keys]
    before = _composed(started)
    told = [override for override in given if _key(override) != "resume"]
    try:
        after = _composed([*kept, *told])
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"resume goes on with what the run was started with, and {' '.join(told)} does not go with it ({reason}); "
            "start a new run."
        ) from error
    for key, old, new in _differences(before, after, resolve=False):
        if not _MAY_CHANGE.match(key) and not (key == "trainer.sync_batchnorm" and not new and old in (_ABSENT, False)):
            raise ConfigError(
                f"resume goes on with what the run was started with, and {key}={_shown(new)} is not {_shown(old)}; "
                "what may change are the roots of data, workers, devices, the logger, and epochs to more. Leave it "
                "away, or start a new run."
            )
    for key, _, new in _differences(before, after, resolve=True):
        if key.endswith("epochs") and new is not _ABSENT:
            _check_epochs(key, OmegaConf.select(saved, key), new, finished)
    for key, _, new in _differences(before, after, resolve=True):
        if new is _ABSENT:
            group, _, name = key.rpartition(".")
            OmegaConf.select(saved, group).pop(name, None)
        else:
            OmegaConf.update(saved, key, new, force_add=True)


def _check_epochs(key: str, before: int, after: int, finished: Collection[str]) -> None:
    """Refuses fewer epochs, and more for a stage that others have gone on from."""
    if after < before:
        raise ConfigError(f"resume: {key} is {before} and cannot become {after}; epochs can only become more.")
    stage = key.split(".")[1] if key.startswith("stages.") else None
    if stage in finished:
        raise ConfigError(
            f"resume: {key} cannot become {after}, for the stage {stage} is finished and others have gone on from it; "
            "start a new run."
        )


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _composed(overrides: Sequence[str]) -> DictConfig:
    from hydra import compose

    cfg = compose("train", overrides=[*overrides])
    complete_pools(cfg)
    return cfg


def _differences(before: DictConfig, after: DictConfig, resolve: bool) -> Iterator[tuple[str, Any, Any]]:
    """Key, old and new value of each setting that differs; as written, or with interpolations resolved."""
    if resolve:
        make_absolute(before)
        make_absolute(after)
    old = _flat(OmegaConf.to_container(before, resolve=resolve))
    OmegaConf.copy_cache(before, after)  # what is drawn once for a configuration (new_id) is no difference
    new = _flat(OmegaConf.to_container(after, resolve=resolve))
    for key in dict.fromkeys([*old, *new]):
        if (was := old.get(key, _ABSENT)) != (now := new.get(key, _ABSENT)):
            yield key, was, now


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict) or not node:
        return {prefix.removesuffix("."): node}
    flat: dict[str, Any] = {}
    for name, value in node.items():
        flat |= _flat(value, f"{prefix}{name}.")
    return flat


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else "null" if value is None else str(value)
