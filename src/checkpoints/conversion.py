"""Checkpoints of other people's code as ours: the same numbers, under our names."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from src.checkpoints.checkpoint_file import WholeCheckpoints
from src.checkpoints.restore import build_method
from src.checkpoints.transreid_conversion import convert_transreid, is_transreid
from src.methods.base import ReIDMethod
from src.methods.bot import BoT
from src.methods.dndm import DNDMReleased
from src.methods.transreid import TransReID
from src.networks import ReleasedDNDM
from src.networks.backbone.weights import load_renamed, read_state_dict
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Format:
    """Names that another code base has for what `BoT` has.

    Attributes:
        title: What it is called.
        trunk: How the names of its ResNet begin.
        head: How names of its head begin, and ours.
    """

    title: str
    trunk: str
    head: Mapping[str, str]

    def names(self, state: Mapping[str, Tensor]) -> dict[str, str]:
        """Beginnings of all names in a checkpoint, and of ours."""
        names = {f"{self.trunk}{name}.": f"backbone.stem.{name}." for name in ("conv1", "bn1")}
        for s, count in enumerate(self.non_local(state), start=1):
            ours = f"backbone.stages.{s - 1}.layer{s}."
            names[f"{self.trunk}layer{s}."] = ours
            first = _count(state, f"{self.trunk}layer{s}.") - count
            names |= {f"{self.trunk}NL_{s}.{i}.": f"{ours}{first + i}.act3.1." for i in range(count)}
        return names | dict(self.head)

    def non_local(self, state: Mapping[str, Tensor]) -> list[int]:
        """Number of non-local blocks that each stage of a checkpoint ends with."""
        return [_count(state, f"{self.trunk}NL_{s}.") for s in (1, 2, 3, 4)]


#: https://github.com/JDAI-CV/fast-reid: heads of 0.x, 1.0 and later; https://github.com/michuanhaohao/reid-strong-baseline
#: and what goes back to it, https://github.com/heshuting555/AICITY2020_DMT_VehicleReID among others.
FORMATS = (
    Format(
        "fast-reid",
        "backbone.",
        {
            "heads.pool_layer.p": "pool.p",
            "heads.bnneck.": "neck.bn.",
            "heads.bottleneck.0.": "neck.bn.",
            "heads.classifier.weight": "neck.classifier.weight",
            "heads.weight": "neck.classifier.weight",
        },
    ),
    Format(
        "reid-strong-baseline",
        "base.",
        {
            "bottleneck.": "neck.bn.",
            "classifier.weight": "neck.classifier.weight",
            "arcface.weight": "neck.classifier.weight",
        },
    ),
)

#: Parts that networks of these code bases may have and ours lack, by what names of theirs contain.
_FOREIGN = {
    ".se.": "squeeze-and-excitation blocks",
    "heads.bottleneck.1.": "a layer that reduces the feature's dimensions",
}
_CLASSIFIERS = ("classifier.weight", "heads.classifier.weight", "heads.weight", "arcface.weight")
_GEM = "heads.pool_layer.p"


def run(cfg: DictConfig) -> ReIDMethod:
    """Converts a checkpoint and writes it.

    Args:
        cfg: The configuration of `src.convert`.

    Returns:
        The method with its weights.

    Raises:
        ConfigError: If the file is of no known code base, or the configuration leaves open what the file does not say.
        ValueError: If a name or shape does not fit the network.
        FileNotFoundError: If there is no such file.
    """
    path, out = Path(cfg.weights), Path(cfg.out)
    cfg.backbone.weights = None  # all weights are in the file
    state = read_state_dict(path)
    classes = next((len(state[name]) for name in _CLASSIFIERS if name in state), 0)
    if classes == 0:
        raise ConfigError(f"{path} has no classifier, expected one of {', '.join(_CLASSIFIERS)} beside the network.")
    kind = cfg.method._target_.rpartition(".")[2]
    names: dict[str, list[str]] = {}
    if kind == BoT.__name__:
        method, left_out = _bot(cfg, path, state, classes)
    elif kind == DNDMReleased.__name__:
        method = build_method(cfg, classes, {})
        left_out = cast(ReleasedDNDM, method.network).load_released(path)
    elif kind == TransReID.__name__:
        method, names, left_out = convert_transreid(cfg, path, state, classes)
    else:
        raise ConfigError(
            f"No other code base is known to have {kind}; pass method=bot, method=dndm_released or "
            "method=transreid_released."
        )
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    method.provenance = {
        "config": {name: value for name, value in config.items() if name not in ("weights", "out")},
        "stage": next(iter(cfg.stages)),
        "labels": [[path.name, number] for number in range(classes)],  # the file does not say which vehicles
        "names": names,
        "data": {"name": path.name, "fingerprint": file_sha(path)},
    }
    WholeCheckpoints().save_checkpoint({"state_dict": method.state_dict(), "reid": method.provenance}, out)
    log.info("%d tensors, %d identities: %s", len(state) - len(left_out), classes, out)
    if left_out:
        log.info("Left out, as their own network does not use them: %s", ", ".join(left_out))
    return method


def _bot(cfg: DictConfig, path: Path, state: dict[str, Tensor], classes: int) -> tuple[ReIDMethod, list[str]]:
    """BoT with the weights of fast-reid or reid-strong-baseline, and the names that were left out."""
    if is_transreid(state):
        raise ConfigError(f"{path} is a checkpoint of TransReID's code; pass method=transreid_released.")
    found = next((f for f in FORMATS if any(name.startswith(f"{f.trunk}layer1.") for name in state)), None)
    if found is None:
        raise ConfigError(
            f"{path} is no checkpoint of {' or '.join(f.title for f in FORMATS)}: no name begins with "
            f"{' or '.join(f'{f.trunk}layer1.' for f in FORMATS)}; pass a ResNet's own weights as backbone.weights."
        )
    for part, what in _FOREIGN.items():
        if name := next((name for name in state if part in name), None):
            raise ConfigError(f"{path} has {what} ({name}), which no network here has; it cannot be converted.")
    if cfg.backbone.get("stem") is None:
        raise ConfigError(
            f"{path} does not say what its stem is like; pass backbone.stem=torchvision, fastreid or bot, as the code "
            "has it that it was trained with (docs/use.md)."
        )
    if _GEM in state and cfg.method.pooling != "gem":
        raise ConfigError(f"{path} has a learnt exponent of its pooling ({_GEM}); pass method.pooling=gem.")
    if cfg.method.pooling == "gem" and _GEM in found.head:
        state.setdefault(_GEM, torch.tensor([3.0]))  # which fast-reid can also have fixed
    for ours, theirs in (("mean", "pixel_mean"), ("std", "pixel_std")):
        if theirs in state:
            cfg.backbone[ours] = state.pop(theirs).flatten().tolist()
    if any(counts := found.non_local(state)):
        cfg.backbone.non_local = counts
    method = build_method(cfg, classes, {})
    ibn = f"-ibn-{cfg.backbone.ibn}" if cfg.backbone.ibn else ""
    problem = f"{path}, of {found.title}, does not fit method=bot on a {cfg.backbone.name}{ibn}"
    return method, load_renamed(method, state, found.names(state), (), problem)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Count of the numbers that follow a prefix."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})
