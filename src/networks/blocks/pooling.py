"""From a feature map to one vector an image."""

from typing import Literal

import torch
from torch import Tensor, nn

from src.networks.backbone.plain_transformer import Carried
from src.networks.backbone.timm_backbone import Backbone

Pooling = Literal["gap", "gem", "class_token"]


class GAP(nn.Module):
    """Global average pooling: `(B, C, h, w)` → `(B, C)`."""

    def forward(self, x: Tensor, carried: Carried | None = None) -> Tensor:
        """Averages over the positions."""
        return x.mean(dim=(2, 3))


class GeM(nn.Module):
    """Generalised-mean pooling with a learnt exponent: `(B, C, h, w)` → `(B, C)`.

    `(mean max(x, ε)^p)^(1/p)`; p = 1 is the average, p → ∞ the maximum. Radenović et al., "Fine-tuning CNN Image
    Retrieval with No Human Annotation", TPAMI 2019. Computed in at least float32: cubes overflow half precision.

    Args:
        p: Exponent to start from.
        eps: Lower bound of the activations.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))
        self.eps = eps

    def forward(self, x: Tensor, carried: Carried | None = None) -> Tensor:
        """The generalised mean over the positions."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return wide.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p).to(x.dtype)


class ClassToken(nn.Module):
    """The class token that a transformer carries beside its map, `(B, C)`."""

    def forward(self, x: Tensor, carried: Carried) -> Tensor:
        """Takes the first of the tokens without a place."""
        if carried.prefix is None:
            raise ValueError("There is no class token to take; pass another pooling.")
        return carried.prefix[:, 0]


def make_pooling(kind: Pooling, backbone: Backbone) -> nn.Module:
    """A pooling of `backbone.features(images)`, called with the map and what is carried beside it.

    Args:
        kind: `"gap"` and `"gem"` pool the map, a transformer's over its patches; `"class_token"` leaves the map aside.
        backbone: Whose map.

    Raises:
        ValueError: If the kind is unknown, or the backbone has no class token.
    """
    kinds: dict[str, type[nn.Module]] = {"gap": GAP, "gem": GeM, "class_token": ClassToken}
    if kind not in kinds:
        raise ValueError(f"pooling is {kind!r}, expected one of {', '.join(kinds)}.")
    if kind == "class_token" and not backbone.has_class_token:
        raise ValueError(f"Backbone {backbone.name!r} has no class token; pass pooling=gap or pooling=gem.")
    return kinds[kind]()
