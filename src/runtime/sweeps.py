"""Sweeps, as a job of one sees them."""

from pathlib import Path

from omegaconf import OmegaConf


def sweep_of(run_dir: Path) -> Path | None:
    """The folder of the sweep that a run is a job of, from what Hydra has written beside it; None for a single run.

    Args:
        run_dir: The run's folder.
    """
    written = run_dir / ".hydra" / "hydra.yaml"
    if not written.is_file() or OmegaConf.load(written).hydra.mode != "MULTIRUN":
        return None
    return run_dir.parent
