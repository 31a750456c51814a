"""Embeddings of the whole of a map and of its equal parts along an axis."""

from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from src.networks.blocks.bnneck import BNNeck

Axis = Literal["whole", "height", "width", "channel"]


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


class Lines(NamedTuple):
    """Averages over a map `(B, C, h, w)`, from which those of all parts are made.

    Attributes:
        pooled: Of the whole map, `(B, C)`.
        rows: Of each row, `(B, C, h)`; None if no branch asks for it.
        columns: Of each column, `(B, C, w)`, likewise.
    """

    pooled: Tensor
    rows: Tensor | None = None
    columns: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor, axes: Collection[Axis]) -> "Lines":
        """What branches along some axes need, from as few passes over the map as that takes."""
        # in half precision a line's average would be rounded before that of its part
        wide = torch.promote_types(x.dtype, torch.float32)
        if {"height", "width"} <= set(axes):
            rows, columns = (
                _RowsAndColumns.apply(x) if x.requires_grad and torch.is_grad_enabled() else _rows_and_columns(x)
            )
            return cls(rows.mean(dim=2), rows, columns)
        if "height" in axes:
            rows = x.mean(dim=3, dtype=wide)
            return cls(rows.mean(dim=2), rows=rows)
        if "width" in axes:
            columns = x.mean(dim=2, dtype=wide)
            return cls(columns.mean(dim=2), columns=columns)
        return cls(x.mean(dim=(2, 3)))


def _rows_and_columns(x: Tensor) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.mean(dim=3, dtype=wide), x.mean(dim=2, dtype=wide)


class _RowsAndColumns(torch.autograd.Function):
    """The averages of rows and columns, whose gradient is written once instead of once for each and for their sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.shape, ctx.stride, ctx.dtype = x.shape, x.stride(), x.dtype
        return _rows_and_columns(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rows: Tensor, columns: Tensor) -> Tensor:
        grad = rows.new_empty_strided(ctx.shape, ctx.stride, dtype=ctx.dtype)  # as the map lies
        rows, columns = rows / grad.shape[3], columns / grad.shape[2]
        return torch.add(rows[:, :, :, None], columns[:, :, None, :], out=grad)


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

    @property
    def parts(self) -> list[Embedding]:
        """The embeddings, one for each part."""
        return [cast(Embedding, embed) for embed in self.embeddings]

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Embeddings of the parts of a map `(B, C, h, w)`; see `averages`."""
        averages = self.averages(Lines.of(x, [self.axis]))
        return [embed(part) for embed, part in zip(self.parts, averages, strict=True)]

    def averages(self, lines: Lines) -> Sequence[Tensor]:
        """Averages `(B, C)` of the parts.

        Raises:
            ValueError: If the map is smaller than the number of parts.
        """
        count = len(self.embeddings)
        each = {"height": lines.rows, "width": lines.columns}.get(self.axis)
        if each is None:
            return _parts(lines.pooled, count, dim=1)
        if each.shape[2] < count:
            raise ValueError(
                f"parts.{self.axis} is {count}, but the map has only {each.shape[2]} rows there; use fewer parts or "
                "larger images."
            )
        if each.shape[2] % count == 0:
            return each.unflatten(2, (count, -1)).mean(dim=3).unbind(dim=2)
        return [part.mean(dim=2) for part in each.tensor_split(count, dim=2)]


def _parts(x: Tensor, count: int, dim: int) -> Sequence[Tensor]:
    """As `tensor_split`; equal parts have one gradient instead of one each and their sum."""
    return x.tensor_split(count, dim) if x.shape[dim] % count else x.unflatten(dim, (count, -1)).unbind(dim)


def embed_at_once(embeddings: Sequence[Embedding], averages: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What `Embedding` makes of each average, in training, by a few operations for all of them.

    On a GPU the dozen small operations of each embedding and their gradients take longer to start than to run.

    Args:
        embeddings: With the same dimension and classes; `at_once` says whether they can be taken together.
        averages: `(B, C)`, one for each.
    """
    features: list[Tensor] = [averages[0]] * len(embeddings)
    for size in dict.fromkeys(embed.reduce.in_features for embed in embeddings):
        same = [place for place, embed in enumerate(embeddings) if embed.reduce.in_features == size]
        weights = torch.stack([embeddings[place].reduce.weight for place in same])
        # weights × averages rather than the reverse: so their gradient lies as they do, and need not be copied
        found = torch.bmm(weights, torch.stack([averages[place].T for place in same]))
        for place, feature in zip(same, found.unbind(), strict=True):
            features[place] = feature.T
    normalised = _normalised([embed.neck.bn for embed in embeddings], torch.cat(features, dim=1))
    classifiers = torch.stack([embed.neck.classifier.weight for embed in embeddings])
    logits = torch.bmm(classifiers, torch.stack([part.T for part in normalised])).transpose(1, 2)
    return list(zip(features, normalised, logits.unbind(), strict=True))


def at_once(embeddings: Sequence[Embedding]) -> bool:
    """Whether `embed_at_once` can take these: all train, none across processes."""
    necks = [embed.neck.bn for embed in embeddings]
    return len(necks) > 1 and all(type(bn) is nn.BatchNorm1d and bn.training for bn in necks)


def _normalised(norms: Sequence[nn.BatchNorm1d], features: Tensor) -> tuple[Tensor, ...]:
    """Batch normalisation of features side by side, each part by its own module, whose statistics move as ever."""
    means, variances, counts = (
        [cast(Tensor, getattr(bn, name)) for bn in norms]
        for name in ("running_mean", "running_var", "num_batches_tracked")
    )
    mean, variance = torch.cat(means), torch.cat(variances)
    weight, bias = torch.cat([bn.weight for bn in norms]), torch.cat([bn.bias for bn in norms])
    momentum = norms[0].momentum or 0.0
    out = nn.functional.batch_norm(features, mean, variance, weight, bias, True, momentum, norms[0].eps)
    with torch.no_grad():
        torch._foreach_copy_([*means, *variances], [*mean.chunk(len(norms)), *variance.chunk(len(norms))])
        torch._foreach_add_(counts, 1)
    return out.chunk(len(norms), dim=1)
