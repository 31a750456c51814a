"""A checkpoint as a thing with a meaning: read it safely, build its method again."""

import inspect
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from src.config import ConfigError, check_target
from src.data import Transforms
from src.methods.base import ReIDMethod


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
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ConfigError(f"{path} cannot be read as a checkpoint ({str(error).splitlines()[0]}).") from error
    if not isinstance(checkpoint, dict) or "reid" not in checkpoint or "state_dict" not in checkpoint:
        raise ConfigError(f"{path} is no checkpoint of this project: it has no entry 'reid' beside its weights.")
    return checkpoint


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


def restore_method(path: Path) -> ReIDMethod:
    """The method of a checkpoint with its weights, ready to embed.

    Raises:
        ConfigError: See `load_checkpoint`; also if the configuration inside names a class it must not name.
    """
    checkpoint = load_checkpoint(path)
    provenance = checkpoint["reid"]
    cfg = OmegaConf.create(provenance["config"])
    cfg.backbone.weights = None  # they are in the checkpoint
    for key in ("method", "backbone"):
        check_target(key, cfg[key])
    method = build_method(cfg, len(provenance["labels"]), provenance.get("names", {}))
    method.load_state_dict(checkpoint["state_dict"])
    method.provenance = provenance
    return method
