"""Embeddings of the whole of a map and of its equal parts along an axis."""

from collections.abc import Sequence
from itertools import islice
from typing import Literal, cast

import torch
from torch import Tensor, nn

from src.networks.blocks.bnneck import BNNeck

Axis = Literal["whole", "height", "width", "channel"]
#: Of a map `(B, C, h, w)`.
_DIMENSIONS: dict[Axis, int] = {"height": 2, "width": 3}


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
        return [embed(part) for embed, part in zip(self.parts, self.averages(x), strict=True)]

    def averages(self, x: Tensor) -> Sequence[Tensor]:
        """Averages of the parts of a map `(B, C, h, w)`: `(B, C)`, or along the channels `(B, C / parts)`.

        Raises:
            ValueError: If the map is smaller than the number of parts.
        """
        count, dim = len(self.embeddings), _DIMENSIONS.get(self.axis)
        if dim is None:
            return x.mean(dim=(2, 3)).tensor_split(count, dim=1)
        self._check_lines(x.shape[dim])
        return [part.mean(dim=(2, 3)) for part in x.tensor_split(count, dim)]

    def places(self, x: Tensor) -> Tensor:
        """The places of each part, as ones among zeros `(parts, h, w)`; of parts along the channels, all `(1, h, w)`.

        Raises:
            ValueError: If the map is smaller than the number of parts.
        """
        count, dim = len(self.embeddings), _DIMENSIONS.get(self.axis)
        if dim is None:
            return torch.ones(1, *x.shape[2:], dtype=x.dtype, device=x.device)
        length = x.shape[dim]
        self._check_lines(length)
        if length % count == 0:  # the usual case, in fewer operations
            lines = torch.eye(count, dtype=x.dtype, device=x.device).repeat_interleave(length // count, dim=1)
        else:
            lines = torch.block_diag(*torch.ones(length, dtype=x.dtype, device=x.device).tensor_split(count))
        return (lines[:, :, None] if self.axis == "height" else lines[:, None]).expand(count, *x.shape[2:])

    def _check_lines(self, length: int) -> None:
        if length < len(self.embeddings):
            raise ValueError(
                f"parts.{self.axis} is {len(self.embeddings)}, but the map has only {length} rows there; use fewer "
                "parts or larger images."
            )


def part_averages(branches: Sequence[Branch], x: Tensor, gate: Tensor | None = None) -> list[Tensor]:
    """`averages` of several branches of a map times a gate, in training: a product of two matrices for each image.

    It reads the map once, however many parts there are, and its gradient is written once. The map times the gate is
    never written.

    Args:
        branches: In the order of the averages.
        x: `(B, C, h, w)`.
        gate: `(B, 1, h, w)`; None for a map as it is.

    Raises:
        ValueError: If the map is smaller than the number of parts.
    """
    places = torch.cat([branch.places(x) for branch in branches])
    # Rounded only with the gate: a third in half precision would be off by the same for all places of a part.
    shares = places / places.sum(dim=(1, 2), keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    weights = (shares.expand(x.shape[0], -1, -1, -1) if gate is None else shares * gate).to(x.dtype)
    # parts × places by places × channels, not the reverse: so the gradient lies like a map with channels last
    found = iter(torch.bmm(weights.flatten(2), x.flatten(2).transpose(1, 2)).unbind(dim=1))
    averages: list[Tensor] = []
    for branch in branches:
        count = len(branch.embeddings)
        averages += _channels(next(found), count) if branch.axis == "channel" else islice(found, count)
    return averages


def _channels(x: Tensor, count: int) -> Sequence[Tensor]:
    """As `tensor_split`; equal parts have one gradient instead of one each and their sum."""
    return x.tensor_split(count, dim=1) if x.shape[1] % count else x.unflatten(1, (count, -1)).unbind(dim=1)


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
