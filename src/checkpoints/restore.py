"""A checkpoint as a thing with a meaning: write it whole, read it safely, build its method again."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.checkpoint_file import load_checkpoint
from src.config.targets import check_stored_targets, check_target
from src.data import Transforms
from src.methods.base import ReIDMethod
from src.methods.tta import Views
from src.networks.backbone.weights import differences
from src.runtime.errors import ConfigError


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
    check_stored_targets(said, "The checkpoint")
    return cast(Transforms, instantiate(said, _convert_="all"))


def views_of(method: ReIDMethod, asked: Mapping[str, Any]) -> Views:
    """Views of an image at test: what is asked for, else what the run of its checkpoint said.

    Args:
        method: As its checkpoint has it, or in training.
        asked: `flip` and `scales`, null or absent to leave them to the run.
    """
    saved = method.provenance.get("config", {}).get("retrieval", {})
    chosen = {name: saved.get(name) if asked.get(name) is None else asked.get(name) for name in ("flip", "scales")}
    return Views(**{name: value for name, value in chosen.items() if value is not None})


def options_at_test(method: ReIDMethod) -> dict[str, Any]:
    """The values of a method's `test_options`, as far as the run of its checkpoint knew them."""
    saved = method.provenance.get("config", {}).get("method", {})
    return {name: saved[name] for name in method.test_options if name in saved}


def restore_method(path: Path, options: Mapping[str, Any] | None = None) -> ReIDMethod:
    """The method of a checkpoint with its weights, ready to embed.

    Args:
        path: The file.
        options: Other values for some of the method's `test_options`; null leaves one as it was in training.

    Raises:
        ConfigError: See `load_checkpoint`; also if the configuration inside names a class it must not name, the weights
            are not those of the network that it describes, or the method has no such option.
    """
    checkpoint = load_checkpoint(path)
    provenance = checkpoint["reid"]
    cfg = OmegaConf.create(provenance["config"])
    cfg.backbone.weights = None  # they are in the checkpoint
    check_stored_targets(OmegaConf.create({key: cfg[key] for key in ("method", "backbone")}), str(path))
    changed = {name: value for name, value in (options or {}).items() if value is not None}
    _refuse_unknown(changed, get_object(cfg.method._target_))
    cfg.method.update(changed)
    check_target("method", cfg.method)
    method = build_method(cfg, len(provenance["labels"]), provenance.get("names", {}))
    weights = method.completed(checkpoint["state_dict"])
    if wrong := differences(method.state_dict(), weights):
        raise ConfigError(
            f"The weights in {path} are not those of the network that it describes: {wrong}. It was changed after it "
            "was written, or written by another version of this software."
        )
    method.load_state_dict(weights)
    provenance["config"]["method"] |= changed
    method.provenance = provenance
    return method


def _refuse_unknown(options: Mapping[str, Any], kind: type[ReIDMethod]) -> None:
    """Refuses options that a method does not have at test."""
    for name in options:
        if name not in kind.test_options:
            known = ", ".join(f"method.{option}" for option in kind.test_options) or "none"
            raise ConfigError(f"method.{name} is no option of {kind.__name__} at test, which has {known}; remove it.")


def restore_for_embedding(path: Path, options: Mapping[str, Any] | None = None) -> ReIDMethod:
    """The method of a checkpoint, with nothing left to train: no classifier, no gradients, its own views at test.

    Args:
        path: The file.
        options: See `restore_method`.

    Raises:
        ConfigError: See `restore_method`.
    """
    method = restore_method(path, options)
    method.drop_classifier()
    method.eval().requires_grad_(False)
    method.average_over(views_of(method, {}))
    return method
