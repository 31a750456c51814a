"""A checkpoint's file: written whole, read without running code."""

import io
import pickle
from pathlib import Path
from typing import Any, cast
from zipfile import is_zipfile

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from src.runtime.errors import ConfigError
from src.runtime.whole_files import write_atomically


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them; reads them without running code.

    Lightning writes into the system's temporary folder and moves the file, which is a copy where that is another disk:
    a process killed meanwhile leaves half a checkpoint, and no old one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Writes a whole checkpoint or leaves the one that is there; see `write_atomically`."""
        path = Path(path)
        for litter in path.parent.glob(f".{path.name}.*"):  # of processes that were killed while they wrote
            litter.unlink(missing_ok=True)
        content = io.BytesIO()  # torch.save hides what is wrong with a file behind errors of its own
        torch.save(checkpoint, content)
        write_atomically(path, content.getbuffer())

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Reads a checkpoint of ours."""
        return load_checkpoint(Path(path))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of ours without running any code from it.

    Raises:
        ConfigError: If there is no such file, it is not a checkpoint, or not one of this project.
    """
    if not path.is_file():
        raise ConfigError(f"No checkpoint at {path}; pass checkpoint=<run folder>/stages/<stage>/last.ckpt.")
    if not is_zipfile(path):
        raise ConfigError(
            f"{path} is no checkpoint, or was cut off at {path.stat().st_size:,} bytes; pass a run's last.ckpt or "
            "best.ckpt."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} holds Python objects whose reading could run code, so it was not read; pass a run's last.ckpt or "
            "best.ckpt."
        ) from error
    except RuntimeError as error:
        raise ConfigError(f"{path} is damaged, or no checkpoint ({str(error).splitlines()[0]}).") from error
    reid = checkpoint.get("reid") if isinstance(checkpoint, dict) else None
    if not isinstance(reid, dict) or "state_dict" not in checkpoint:
        raise ConfigError(
            f"{path} is no checkpoint of this project: it has no entry 'reid' beside its weights. Weights alone can be "
            "trained on with backbone.weights=<file>."
        )
    if lacking := [key for key in ("config", "stage", "labels") if key not in reid]:
        raise ConfigError(f"{path} does not say its {', '.join(lacking)} under 'reid', as a run's checkpoints do.")
    return cast(dict[str, Any], checkpoint)
