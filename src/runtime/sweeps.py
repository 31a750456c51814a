"""Sweeps: which there cannot be, and what a run knows of the one it is a job of."""

from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from src.runtime.errors import ConfigError


def check_sweep(config: DictConfig) -> None:
    """Refuses a sweep of a training over what comes after it: every job would train the same weights again.

    Args:
        config: The configuration of a sweep, as Hydra has it before the first job.

    Raises:
        ConfigError: Names the command that needs no training.
    """
    given = OverridesParser.create().parse_overrides([*config.hydra.overrides.task])
    swept = {override.key_or_group for override in given if override.is_sweep_override()}
    swept |= set(OmegaConf.select(config, "hydra.sweeper.params") or {})
    if "stages" in config and swept and all(key.split(".")[0] == "retrieval" for key in swept):
        name = config.hydra.runtime.choices.get("sweep")
        what = f"sweep={name}" if name else " ".join(sorted(f"{key}=…" for key in swept))
        raise ConfigError(
            f"{what} varies {', '.join(sorted(swept))} only, for which nothing needs to be trained again; pass "
            f"python -m src.evaluate --multirun {what} embeddings=<run>/embeddings."
        )


def check_single(config: DictConfig) -> None:
    """Refuses a sweep where only one run is started.

    Raises:
        ConfigError: Names what is missing.
    """
    if (name := config.hydra.runtime.choices.get("sweep")) is not None:
        raise ConfigError(f"sweep={name} names several runs; pass --multirun with it.")


def sweep_of(run_dir: Path) -> Path | None:
    """The folder of the sweep that a run is a job of, from what Hydra has written beside it; None for a single run.

    Args:
        run_dir: The run's folder.
    """
    written = run_dir / ".hydra" / "hydra.yaml"
    if not written.is_file() or OmegaConf.load(written).hydra.mode != "MULTIRUN":
        return None
    return run_dir.parent
