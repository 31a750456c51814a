"""Checkpoints of TransReID's authors' code, https://github.com/damo-cv/TransReID, as ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from omegaconf import DictConfig
from torch import Tensor

from src.checkpoints.restore import build_method
from src.methods.transreid import TransReID
from src.networks.backbone.plain_transformer import BlockStage
from src.networks.backbone.weights import load_renamed
from src.runtime.errors import ConfigError

#: Views that VeRi-776's images are labelled with.
VIEWS = 8
_SIDE = "base.sie_embed"


def is_transreid(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the names of TransReID's network."""
    return any(name.startswith("base.blocks.") for name in state)


def convert_transreid(
    cfg: DictConfig, path: Path, state: dict[str, Tensor], classes: int
) -> tuple[TransReID, dict[str, list[str]], list[str]]:
    """TransReID with the weights of its authors' code.

    Args:
        cfg: The configuration of `src.convert`; whether there is a jigsaw branch, and side information, is set to what
            the file has.
        path: The file, for messages.
        state: What it holds.
        classes: Number of identities.

    Returns:
        The method, the names of its cameras and views, and the names in the file that its network does not use.

    Raises:
        ConfigError: If the file is none of theirs, or its side information is of another kind than `method.side`.
        ValueError: If a name or shape does not fit the network.
    """
    if not is_transreid(state):
        raise ConfigError(
            f"{path} is no checkpoint of TransReID's code: no name begins with base.blocks.; pass method=bot."
        )
    cfg.method.jigsaw = "b2.0.norm1.weight" in state
    names = _side_names(cfg, path, state)
    if _SIDE in state:
        state[_SIDE] = state[_SIDE].flatten(1)  # (N, 1, C) there
    method = cast(TransReID, build_method(cfg, classes, names))
    size = cfg.backbone.image_size
    problem = (
        f"{path}, of TransReID, does not fit {cfg.backbone.name} for images of {size} pixels with a patch every "
        f"{cfg.backbone.patch_stride}"
    )
    renamed, unused = _names(method, cfg.method.jigsaw)
    return method, names, load_renamed(method, state, renamed, unused, problem)


def _side_names(cfg: DictConfig, path: Path, state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of the cameras and views whose embeddings a file has; cameras are those of the data set, from 1."""
    if _SIDE not in state:
        cfg.method.side = []
        return {}
    kinds, rows = [*cfg.method.side], len(state[_SIDE])
    cameras = {("camera",): rows, ("view",): 0, ("camera", "view"): rows // VIEWS}.get(tuple(kinds), 0)
    views = 0 if kinds == ["camera"] else rows if kinds == ["view"] else VIEWS
    if max(cameras, 1) * max(views, 1) != rows:
        raise ConfigError(
            f"{path} has {rows} embeddings of side information, which method.side={kinds} does not explain; pass "
            f"method.side=[camera], [view] or [camera,view] ({VIEWS} views a camera), as it was trained."
        )
    names = {"camera": [f"{cfg.data.name} {number}" for number in range(1, cameras + 1)]}
    return names | {"view": [str(number) for number in range(views)]}


def _names(method: TransReID, jigsaw: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """Beginnings of their names and of ours, and of those that their network does not use."""
    ours = "network.backbone."
    names = {f"base.{name}": f"{ours}stem.model.{name}" for name in ("cls_token", "pos_embed", "patch_embed.")}
    places = [
        f"{ours}stages.{s}.blocks_{stage.first + i}."
        for s, stage in enumerate(cast(list[BlockStage], method.network.backbone.stages))
        for i in range(len(stage.blocks))
    ]
    last, norm = len(places) - 1, f"{ours}stages.3.norm."
    names |= {f"base.blocks.{i}.": place for i, place in enumerate(places) if i < last or not jigsaw}
    names |= {_SIDE: "network.side.table"}
    if jigsaw:  # their global branch is a copy of the last block, which itself is left over
        names |= {"b1.0.": places[last], "b1.1.": norm}
        names |= {f"b2.{i}.": f"network.jigsaw.layer.{i}." for i in (0, 1)}
    else:
        names["base.norm."] = norm
    for i in range(len(method.network.necks)):
        ending = f"_{i}" if i else ""
        names |= {
            f"bottleneck{ending}.": f"network.necks.{i}.bn.",
            f"classifier{ending}.": f"network.necks.{i}.classifier.",
        }
    return names, ("base.fc.", *(("base.norm.", f"base.blocks.{last}.") if jigsaw else ()))
