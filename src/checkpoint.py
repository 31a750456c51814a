"""A checkpoint as a thing with a meaning: write it whole, read it safely, build its method again."""

import inspect
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from zipfile import is_zipfile

import torch
from hydra.utils import get_object, instantiate
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from src.config import ConfigError, check_target
from src.data import Transforms
from src.files import write_atomically
from src.methods.base import ReIDMethod, differences
from src.methods.views import Views


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


def build_method(cfg: DictConfig, num_classes: int, names: Mapping[str, Sequence[str]]) -> ReIDMethod:
    """A method from its configuration.

    Args:
        cfg: Anything with the nodes `method` and `backbone`.
        num_classes: Identities the classifier tells apart.
        names: Attribute → names of its values, for the methods that take it.
    """
    backbone = instantiate(cfg.backbone, _convert_="all")
    wants_names = "names" in inspect.signature(get_object(cfg.method._target_)).parameters
    told = {"names": names} if wants_names else {}
    method = instantiate(cfg.method, backbone=backbone, num_classes=num_classes, **told, _convert_="all")
    # Measured on a CPU: a training step of EfficientNet-Lite0 takes 0.57 of its time with channels first.
    return method.to(memory_format=torch.channels_last)


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


def saved_stage(method: ReIDMethod) -> DictConfig:
    """The stage of its run that a restored method comes from, as its configuration says."""
    stage: DictConfig = OmegaConf.create(method.provenance["config"]).stages[method.provenance["stage"]]
    return stage


def saved_transforms(method: ReIDMethod) -> Transforms:
    """The image transforms of a restored method's stage.

    Raises:
        ConfigError: If the checkpoint names something else as its transforms: it may come from a stranger.
    """
    said = saved_stage(method).transforms
    check_target("transforms", said)
    return cast(Transforms, instantiate(said, _convert_="all"))


def views_of(method: ReIDMethod, asked: Mapping[str, Any]) -> Views:
    """How often a method looks at an image at test: what is asked for, else what the run of its checkpoint said.

    Args:
        method: As its checkpoint has it, or in training.
        asked: `flip` and `scales`, null or absent to leave them to the run.
    """
    saved = method.provenance.get("config", {}).get("retrieval", {})
    chosen = {name: saved.get(name) if asked.get(name) is None else asked.get(name) for name in ("flip", "scales")}
    return Views(**{name: value for name, value in chosen.items() if value is not None})


def restore_method(path: Path) -> ReIDMethod:
    """The method of a checkpoint with its weights, ready to embed.

    Raises:
        ConfigError: See `load_checkpoint`; also if the configuration inside names a class it must not name, or the
            weights are not those of the network that it describes.
    """
    checkpoint = load_checkpoint(path)
    provenance = checkpoint["reid"]
    cfg = OmegaConf.create(provenance["config"])
    cfg.backbone.weights = None  # they are in the checkpoint
    for key in ("method", "backbone"):
        check_target(key, cfg[key])
    method = build_method(cfg, len(provenance["labels"]), provenance.get("names", {}))
    if wrong := differences(method.state_dict(), checkpoint["state_dict"]):
        raise ConfigError(
            f"The weights in {path} are not those of the network that it describes: {wrong}. It was changed after it "
            "was written, or written by another version of this software."
        )
    method.load_state_dict(checkpoint["state_dict"])
    method.provenance = provenance
    return method
