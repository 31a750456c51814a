"""Distances between a query set and a gallery, produced block by block."""

import math
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.runtime.precision import full_precision
from src.runtime.threads import for_each

Features: TypeAlias = Tensor | NDArray[np.floating]
Metric = Literal["euclidean", "squared", "cosine", "angle"]
Rows: TypeAlias = slice | Tensor
"""Rows of a set: a slice with start and stop, or a tensor of row numbers on the set's device."""

# How much is made together, see `_in_parts`.
_CPU_COLUMNS, _CPU_ROWS, _CPU_PAIRS = 1024, 64, 16
_GPU_STEP = 16384


class Distance(Protocol):
    """A distance from every query to every gallery entry that never has to exist as a whole."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries, number of gallery entries."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the blocks."""
        ...

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Distances of some queries to some gallery entries, float32 `(q, g)`, smaller is nearer, never NaN.

        The block belongs to the caller, who may overwrite it.
        """
        ...


@runtime_checkable
class PairDistance(Distance, Protocol):
    """A distance that also measures single pairs."""

    def pairs(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Distances of as many queries to as many gallery entries, float32 `(p,)`."""
        ...


class FeatureDistance:
    """Distance between embeddings.

    Products are accumulated in float32 whatever the features' precision, autocast or TF32 settings.

    Args:
        query: Embeddings `(Q, D)`, floating point, NumPy or torch.
        gallery: Embeddings `(G, D)` on the same device. Contiguous float16, bfloat16 and float32 are used in place.
        metric: `"euclidean"`, `"squared"` for its square, `"cosine"` for 1 − cosine similarity, `"angle"` in radians.

    Raises:
        ValueError: If shapes or devices do not fit together, or a feature is not finite.
        TypeError: If the features are not floating point.
    """

    def __init__(self, query: Features, gallery: Features, metric: Metric = "euclidean") -> None:
        if metric not in get_args(Metric):
            raise ValueError(f"metric is {metric!r}, expected one of {', '.join(get_args(Metric))}.")
        self._query = feature_tensor("query", query)
        self._gallery = feature_tensor("gallery", gallery)
        if self._query.shape[1] != self._gallery.shape[1]:
            raise ValueError(
                f"query has {self._query.shape[1]} dimensions and gallery {self._gallery.shape[1]}: "
                "both must come from the same model."
            )
        if self._query.device != self._gallery.device:
            raise ValueError(f"query is on {self._query.device} and gallery on {self._gallery.device}: move one.")
        self._metric = metric
        self._normalised = metric in ("cosine", "angle")
        self._query_squares = squared_norms("query", self._query)
        self._gallery_squares = squared_norms("gallery", self._gallery)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries, number of gallery entries."""
        return len(self._query), len(self._gallery)

    @property
    def device(self) -> torch.device:
        """Device of the features."""
        return self._query.device

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Distances of some queries to some gallery entries, float32 `(q, g)`."""
        query_squares, gallery_squares = self._query_squares[queries, None], self._gallery_squares[gallery]
        query = self._query[queries].float()
        query = query / -_norms(query_squares) if self._normalised else -2 * query
        block = torch.empty(len(query), len(gallery_squares), device=self.device)
        if block.numel() == 0:
            return block

        def fill(columns: slice) -> None:
            entries = self._gallery[gallery][columns] if isinstance(gallery, slice) else self._gallery[gallery[columns]]
            product, out = times(entries.float()), block[:, columns]
            if self._normalised:
                torch.div(product, _norms(gallery_squares[columns]), out=out).add_(1)
            else:
                torch.add(product, gallery_squares[columns], out=out).add_(query_squares).clamp_(min=0)
            if self._metric == "euclidean":
                out.sqrt_()
            elif self._metric == "angle":
                out.neg_().add_(1).clamp_(-1, 1).acos_()

        with full_precision(self.device.type):
            times = _multiplier(query)
            _in_parts(fill, len(gallery_squares), _CPU_COLUMNS, self.device)
        return block

    def pairs(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Distances of single pairs, float32 `(p,)`.

        They come from differences instead of products and do not cancel where features are close.
        """
        distances = torch.empty(len(queries), device=self.device)

        def fill(part: slice) -> None:
            query, entry = self._query[queries[part]].float(), self._gallery[gallery[part]].float()
            query_squares, entry_squares = self._query_squares[queries[part]], self._gallery_squares[gallery[part]]
            if self._normalised:
                query /= _norms(query_squares)[:, None]
                entry /= _norms(entry_squares)[:, None]
            squares = query.sub_(entry).square_().sum(dim=1)
            if self._normalised:
                squares[(query_squares == 0) | (entry_squares == 0)] = 2  # at a right angle, as in a block
            distances[part] = from_squared(squares, self._metric)

        _in_parts(fill, len(queries), _CPU_PAIRS, self.device)
        return distances


def from_squared(squares: Tensor, metric: Metric) -> Tensor:
    """A distance in any metric from the squared Euclidean one, between unit vectors for `"cosine"` and `"angle"`."""
    if metric == "squared":
        return squares
    if metric == "cosine":  # |a − b|² is 2 − 2 cos
        return squares / 2
    lengths = squares.sqrt()
    return lengths if metric == "euclidean" else 2 * (lengths / 2).clamp_(max=1).asin_()


def as_euclidean(threshold: float, metric: Metric) -> float:
    """The Euclidean distance between unit vectors that a threshold in another metric means.

    Raises:
        ValueError: If the metric is unknown.
    """
    if metric == "squared":
        return math.sqrt(threshold)
    if metric == "cosine":
        return math.sqrt(2 * threshold)
    if metric == "angle":
        return 2 * math.sin(min(threshold, math.pi) / 2)
    if metric != "euclidean":
        raise ValueError(f"metric is {metric!r}, expected one of {', '.join(get_args(Metric))}.")
    return threshold


def feature_tensor(name: str, features: Features) -> Tensor:
    """Embeddings as a detached, contiguous tensor of at most float32; `name` is what error messages call them."""
    if isinstance(features, Tensor):
        tensor = features.detach()
    elif isinstance(features, np.ndarray) and np.issubdtype(features.dtype, np.floating):
        tensor = torch.from_numpy(np.ascontiguousarray(features))
    else:
        kind = features.dtype if isinstance(features, np.ndarray) else type(features).__name__
        raise TypeError(f"{name} is {kind}, expected a floating point array or tensor.")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} holds {tensor.dtype}, expected floating point numbers.")
    if tensor.ndim != 2 or tensor.shape[1] == 0:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected (images, dimensions).")
    return (tensor.float() if tensor.dtype == torch.float64 else tensor).contiguous()


def squared_norms(name: str, features: Tensor) -> Tensor:
    """Squared length of each row in float32, `(N,)`.

    Raises:
        ValueError: If a row holds NaN or infinity, or is too long for float32.
    """
    squares = torch.empty(len(features), device=features.device)

    def fill(rows: slice) -> None:
        squares[rows] = features[rows].float().square().sum(dim=1)

    _in_parts(fill, len(features), _CPU_ROWS, features.device)
    wrong = squares.isfinite().logical_not().nonzero()
    if len(wrong) > 0:
        raise ValueError(f"{name} row {wrong[0].item()} is not finite: look for NaN or overflow in the model's output.")
    return squares


def _norms(squares: Tensor) -> Tensor:
    return squares.sqrt().clamp(min=torch.finfo(torch.float32).tiny)  # a zero feature is at cosine 0 from everything


def _in_parts(fill: Callable[[slice], None], count: int, cpu_step: int, device: torch.device) -> None:
    """Small parts side by side on a CPU, so that each stays in its core's cache; large ones in turn on a GPU."""
    if device.type == "cpu":
        for_each(lambda part: fill(slice(part * cpu_step, (part + 1) * cpu_step)), -(-count // cpu_step))
    else:
        for start in range(0, count, _GPU_STEP):
            fill(slice(start, start + _GPU_STEP))


def _multiplier(query: Tensor) -> Callable[[Tensor], Tensor]:
    """The function that multiplies some rows by the queries, `(g, D)` → `query @ rows.T`."""
    if query.device.type == "cpu" and torch.backends.mkldnn.is_available():
        # oneDNN, which torch.mm does not use in float32, is twice as fast as MKL on AMD and better with few queries.
        packed = _never_alone(query).to_mkldnn()
        return lambda rows: torch.nn.functional.linear(packed, _never_alone(rows)).to_dense()[: len(query), : len(rows)]
    return lambda rows: (_never_alone(query) @ _never_alone(rows).T)[: len(query), : len(rows)]


def _never_alone(rows: Tensor) -> Tensor:
    """A lone row twice: as a vector it would be multiplied in another order, and equal features not tie any more."""
    return rows.repeat(2, 1) if len(rows) == 1 else rows
