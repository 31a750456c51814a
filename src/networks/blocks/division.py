"""Embeddings of the whole of a map and of its equal parts along an axis."""

from typing import Literal

from torch import Tensor, nn

from src.networks.blocks.bnneck import BNNeck
from src.networks.blocks.pooling import GAP

Axis = Literal["whole", "height", "width", "channel"]
_DIMENSIONS = {"channel": 1, "height": 2, "width": 3}


class Embedding(nn.Module):
    """A map or a part of it as a feature with a classifier: pooling → 1 × 1 convolution → BNNeck.

    Args:
        channels: Channels of the map.
        dimension: Length D of the feature.
        num_classes: Number of identities K.
    """

    def __init__(self, channels: int, dimension: int, num_classes: int) -> None:
        super().__init__()
        self.pool = GAP()
        self.reduce = nn.Linear(channels, dimension, bias=False)  # a 1 × 1 convolution on a single place
        self.neck = BNNeck(dimension, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features before and after the neck `(B, D)` and logits `(B, K)` of a map `(B, C, h, w)`."""
        feature = self.reduce(self.pool(x))
        return feature, *self.neck(feature)


class Branch(nn.Module):
    """A branch of DFR-ST's fine stream: the map cut into equal parts along one axis, an embedding for each.

    Args:
        axis: Along which axis; `"whole"` does not cut.
        parts: How many parts.
        channels: Channels of the map.
        dimension: Length D of each part's feature.
        num_classes: Number of identities K.

    Raises:
        ValueError: If there are fewer channels than parts.
    """

    def __init__(self, axis: Axis, parts: int, channels: int, dimension: int, num_classes: int) -> None:
        super().__init__()
        if parts < 1 or (axis == "channel" and channels < parts):
            raise ValueError(f"parts.{axis} is {parts}, expected at least 1 and no more than the {channels} channels.")
        self.axis: Axis = axis
        # As `tensor_split` has it: where the channels do not divide, the first parts have one more.
        sizes = [channels] * parts
        if axis == "channel":
            sizes = [channels // parts + (part < channels % parts) for part in range(parts)]
        self.embeddings = nn.ModuleList(Embedding(size, dimension, num_classes) for size in sizes)

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Embeddings of the parts of a map `(B, C, h, w)`.

        Raises:
            ValueError: If the map is smaller than the number of parts.
        """
        count = len(self.embeddings)
        if self.axis == "whole":
            return [self.embeddings[0](x)]
        axis = _DIMENSIONS[self.axis]
        if x.shape[axis] < count:
            raise ValueError(
                f"parts.{self.axis} is {count}, but the map has only {x.shape[axis]} rows there; use fewer parts or "
                "larger images."
            )
        return [embed(part) for embed, part in zip(self.embeddings, x.tensor_split(count, dim=axis), strict=True)]
