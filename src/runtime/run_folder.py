"""The folder of a run: tried before Hydra makes it, refused if it holds results."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from src.runtime.errors import ConfigError

#: What a run leaves once it has results.
METRICS_FILE = "metrics.json"


class WritableFolder(Callback):
    """Refuses a folder that cannot be written, in a sentence: Hydra makes it before any code of a command runs."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Makes the folder of a run and tries it."""
        _try("run", config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Makes the folder of a sweep and tries it."""
        _try("sweep", config)


def _try(kind: str, config: DictConfig) -> None:
    HydraConfig.instance().set_config(config)  # the folder's name may tell what was chosen
    folder = Path(config.hydra[kind].dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        sys.exit(
            f"Error: the folder {folder} cannot be written ({error.strerror}); pass another as hydra.{kind}.dir, or "
            "paths.output_dir=<folder> for all of them."
        )


def refuse_finished(run_dir: Path) -> None:
    """Refuses a run folder that already holds results.

    Raises:
        ConfigError: Names the folder.
    """
    if (run_dir / METRICS_FILE).exists():
        raise ConfigError(f"{run_dir} already holds the results of a run; pass another folder as hydra.run.dir.")
