"""Finding the stem and the stages of a timm network."""

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from timm.models.hiera import Hiera
from torch import nn

from src.networks.backbone.chain import Chain, WholeNetwork
from src.networks.backbone.hiera import cut_hiera
from src.networks.backbone.plain_transformer import cut_plain, is_plain

PROBE = 64  # side of the images that a network is tried with
NUM_STAGES = 4

Modules = list[tuple[str, nn.Module]]


class Parts(NamedTuple):
    """A network as stem and stages. `origin` leads from a module's name here, like `stages.0.layer1`, to timm's."""

    stem: nn.Module
    stages: nn.ModuleList
    origin: dict[str, str]


def cut(model: Any) -> Parts | None:
    """Cuts a timm network into a stem and four stages.

    Plain vision transformers: the blocks in four groups. Others: where `feature_info` says that the resolution has
    fallen to 1/4, 1/8, 1/16 and 1/32.

    Returns:
        The parts, or None if the network is no chain of stages.
    """
    if is_plain(model):
        stem, stages, origin = cut_plain(model, NUM_STAGES)
        return Parts(stem, nn.ModuleList(stages), origin)
    if isinstance(model, Hiera):
        first, others, origin = cut_hiera(model)
        return Parts(first, nn.ModuleList(others), origin)
    return _cut_chain(model)


def whole(model: Any) -> Parts:
    """The network as a single stage behind an empty stem."""
    return Parts(Chain({}), nn.ModuleList([WholeNetwork(model)]), {"stages.0.model": ""})


def _cut_chain(model: Any) -> Parts | None:
    """Cuts a network that is a chain of modules.

    A stage ends with the module that timm names in `feature_info`; what follows the last one (a final convolution or
    norm) belongs to the last stage. The stem ends before the first numbered block (`blocks.0`) or the first named stage
    (`layer1`).

    Returns:
        The parts, or None if running them one after another does not reproduce the network.
    """
    features = [info["module"] for info in model.feature_info if info["reduction"] >= 4]
    chain = _chain(model, features)
    names = [name for name, _ in chain]
    ends = [names.index(feature) for feature in features if feature in names]
    if len(features) != NUM_STAGES or len(ends) != NUM_STAGES:
        return None
    numbered = [i for i, name in enumerate(names) if name.rpartition(".")[2].isdigit()]
    starts = [min([ends[0], *numbered]), *(end + 1 for end in ends[:-1])]
    if starts[0] == 0 or not _reproduces(model, chain):
        return None
    stages = [chain[a:b] for a, b in zip(starts, [*starts[1:], len(chain)], strict=True)]
    prefixes = ["stem", *(f"stages.{i}" for i in range(NUM_STAGES))]
    groups = [chain[: starts[0]], *stages]
    origin = {f"{p}.{_own(name)}": name for p, group in zip(prefixes, groups, strict=True) for name, _ in group}
    rows = _in_rows(model)
    stem, *rest = (
        Chain(OrderedDict((_own(name), module) for name, module in group), rows_in=rows and place > 0, rows_out=rows)
        for place, group in enumerate(groups)
    )
    return Parts(stem, nn.ModuleList(rest), origin)


def _in_rows(model: Any) -> bool:
    """Whether a network's maps are `(B, h, w, C)` inside."""
    return str(getattr(model, "output_fmt", "NCHW")) == "NHWC"


def _own(name: str) -> str:
    return name.replace(".", "_")  # a module's name may hold no dot


def _chain(model: nn.Module, features: list[str], prefix: str = "") -> Modules:
    """The children in order, up to the pooling; a Sequential that holds features is replaced by its own children."""
    chain: Modules = []
    for child, module in model.named_children():
        name = prefix + child
        if name in ("global_pool", "head"):
            break
        if type(module) is nn.Sequential and any(feature.startswith(f"{name}.") for feature in features):
            chain += _chain(module, features, f"{name}.")
        else:
            chain.append((name, module))
    return chain


@torch.no_grad()
def _reproduces(model: Any, chain: Modules) -> bool:
    training = model.training
    model.eval()
    images = torch.randn(1, 3, PROBE, PROBE, generator=torch.Generator().manual_seed(0))
    try:
        x = images
        for _, module in chain:
            x = module(x)
        expected = model.forward_features(images)
    except (AssertionError, RuntimeError, TypeError):  # its modules do not follow one another
        return False
    finally:
        model.train(training)
    channels = -1 if _in_rows(model) else 1
    return x.ndim == 4 and x.shape == expected.shape and x.shape[channels] == model.num_features and x.equal(expected)
