"""Depth of a backbone's layers: what learns slower, what stays as it is, what is computed again."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from timm.models._manipulate import group_with_matcher
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def number_layers(backbone: nn.Module, timm_name: Callable[[str], str], matcher: Any) -> dict[str, int]:
    """The layer of each parameter, as timm counts them: 0 for the stem and all embeddings, then one a block.

    Args:
        backbone: The network.
        timm_name: Leads from a name in it to timm's.
        matcher: timm's `group_matcher` of the network.
    """
    # the norm behind the pooling, which stands before it here, belongs to the last block as the other does
    names = {timm_name(name).replace("fc_norm.", "norm."): name for name, _ in backbone.named_parameters()}
    grouped: dict[str, int] = group_with_matcher(iter([(name, None) for name in names]), matcher, reverse=True)
    return {names[name]: layer for name, layer in grouped.items()}


def note_distances(parts: Mapping[str, nn.Module], layers: Mapping[str, int]) -> None:
    """Notes at each part of a backbone how far from the head its parameters lie, for `Optim.layer_decay`.

    Args:
        parts: Stem and stages, by name; each gets `distances`: from a parameter's name in it to a number of layers,
            1 for the last block.
        layers: See `number_layers`.
    """
    count = max(layers.values()) + 1
    for prefix, part in parts.items():
        distances: Any = {name: count - layers[f"{prefix}.{name}"] for name, _ in part.named_parameters()}
        part.distances = distances


def freeze_layers(backbone: nn.Module, layers: Mapping[str, int], blocks: int) -> list[str]:
    """Keeps the stem and the first blocks as they are.

    Args:
        backbone: The network.
        layers: See `number_layers`.
        blocks: How many blocks; 0 freezes nothing, not the stem either.

    Returns:
        Names of the modules that must not be in training mode.

    Raises:
        ValueError: If there are fewer blocks.
    """
    deepest = max(layers.values())
    if not 0 <= blocks <= deepest:
        raise ValueError(f"frozen_blocks is {blocks}, expected 0 to {deepest}, the blocks of this backbone.")
    if blocks == 0:
        return []
    for name, parameter in backbone.named_parameters():
        if layers[name] <= blocks:
            parameter.requires_grad_(False)
    return [*_frozen(backbone)]


def _frozen(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """The outermost modules all of whose parameters are frozen."""
    for name, child in module.named_children():
        parameters = [*child.parameters()]
        if parameters and not any(p.requires_grad for p in parameters):
            yield prefix + name
        else:
            yield from _frozen(child, f"{prefix}{name}.")


def compute_again(backbone: nn.Module, name: str) -> None:
    """Lets the blocks of a backbone keep nothing for the gradient but what goes into them (gradient checkpointing).

    Raises:
        ValueError: If the blocks have batch statistics, which a second computation would move a second time, or timm's
            code of this network cannot.
    """
    if any(isinstance(module, _BatchNorm) for module in backbone.modules()):
        raise ValueError(
            f"Backbone {name!r} has batch normalisation, whose statistics a second computation would move again; pass "
            "checkpointing=false."
        )
    able: list[Any] = [module for module in backbone.modules() if hasattr(module, "grad_checkpointing")]
    if not able:
        raise ValueError(f"Backbone {name!r} cannot compute its blocks again; pass checkpointing=false.")
    for module in able:
        module.grad_checkpointing = True
