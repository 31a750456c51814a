"""Embeddings of the whole of a map and of its equal parts along an axis."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from src.networks.blocks.bnneck import BNNeck
from src.networks.blocks.pooling import GAP

Axis = Literal["whole", "height", "width", "channel"]
_DIMENSIONS = {"channel": 1, "height": 2, "width": 3}


class Embedding(nn.Module):
    """The average of a map or of a part of it as a feature with a classifier: 1 × 1 convolution → BNNeck.

    Args:
        channels: Channels of the map.
        dimension: Length D of the feature.
        num_classes: Number of identities K.
    """

    def __init__(self, channels: int, dimension: int, num_classes: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, dimension, bias=False)  # a 1 × 1 convolution on a single place
        self.neck = BNNeck(dimension, num_classes)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features before and after the neck `(B, D)` and logits `(B, K)` of averages `(B, C)`."""
        feature = self.reduce(pooled)
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
        self.pool = GAP()
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
        axis = _DIMENSIONS.get(self.axis)
        if axis is not None and x.shape[axis] < count:
            raise ValueError(
                f"parts.{self.axis} is {count}, but the map has only {x.shape[axis]} rows there; use fewer parts or "
                "larger images."
            )
        return [embed(part) for embed, part in zip(self.embeddings, self._averages(x), strict=True)]

    def _averages(self, x: Tensor) -> Sequence[Tensor]:
        """Averages `(B, C)` of the parts, from a single pass over the map."""
        count = len(self.embeddings)
        if self.axis in ("whole", "channel"):
            return self.pool(x).tensor_split(count, dim=1)
        # in half precision a line's average would be rounded before that of its part
        wide = torch.promote_types(x.dtype, torch.float32)
        lines = x.mean(dim=3 if self.axis == "height" else 2, dtype=wide)
        return [part.mean(dim=2) for part in lines.tensor_split(count, dim=2)]
