"""Distances between a query set and a gallery, produced block by block."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.threads import for_each_row

Features: TypeAlias = Tensor | NDArray[np.floating]
Metric = Literal["euclidean", "cosine"]
Rows: TypeAlias = slice | Tensor
"""Rows of a set: a slice with start and stop, or a tensor of row numbers on the set's device."""

_CHUNK = 4096  # gallery rows copied at a time, where they must be gathered or widened to float32
_TORCH_GRAIN = 32768  # elements that torch leaves to one thread


class Distance(Protocol):
    """A distance from every query to every gallery entry that never has to exist as a whole."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries, number of gallery entries."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the blocks lie."""
        ...

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Distances of some queries to some gallery entries, float32 `(q, g)`, smaller is nearer, never NaN.

        The block belongs to the caller, who may overwrite it.
        """
        ...


class FeatureDistance:
    """Distance between embeddings.

    Products are accumulated in float32 whatever the features' precision, autocast or TF32 settings.

    Args:
        query: Embeddings `(Q, D)`, floating point, NumPy or torch.
        gallery: Embeddings `(G, D)` on the same device. Contiguous float16, bfloat16 and float32 are used in place.
        metric: `"euclidean"`, or `"cosine"` for 1 − cosine similarity.

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
        self._query_squares = squared_norms("query", self._query)
        self._gallery_squares = squared_norms("gallery", self._gallery)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries, number of gallery entries."""
        return len(self._query), len(self._gallery)

    @property
    def device(self) -> torch.device:
        """Where the features lie."""
        return self._query.device

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Distances of some queries to some gallery entries, float32 `(q, g)`."""
        query_squares, gallery_squares = self._query_squares[queries], self._gallery_squares[gallery]
        query = self._query[queries].float()
        query = query / -_norms(query_squares)[:, None] if self._metric == "cosine" else -2 * query
        size = len(gallery_squares)
        block = torch.empty(len(query), size, device=self.device)
        # What can be multiplied where it lies is multiplied at once.
        step = max(size, 1) if isinstance(gallery, slice) and self._gallery.dtype == torch.float32 else _CHUNK
        for start in range(0, size, step):
            stop = min(start + step, size)
            rows = (
                gallery[start:stop]
                if isinstance(gallery, Tensor)
                else slice(gallery.start + start, gallery.start + stop)
            )
            _multiply(query, self._gallery[rows].float(), block[:, start:stop])
        if self._metric == "cosine":
            _finish_cosine(block, _norms(gallery_squares))
        else:
            _finish_euclidean(block, query_squares, gallery_squares)
        return block

    def pairs(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Distances of single pairs, float32 `(p,)`.

        They come from differences instead of products and do not cancel where features are close.
        """
        distances = torch.empty(len(queries), device=self.device)
        # On the CPU, parts too small for torch to share among its threads; see `for_each_row`.
        step = max((_CHUNK if self.device.type != "cpu" else _TORCH_GRAIN // max(self._query.shape[1], 1)), 1)

        def measure(part: int) -> None:
            own = slice(part * step, (part + 1) * step)
            query, entry = self._query[queries[own]].float(), self._gallery[gallery[own]].float()
            if self._metric == "cosine":
                # |a − b|² / 2 is 1 − cos for unit vectors.
                query /= _norms(self._query_squares[queries[own]])[:, None]
                entry /= _norms(self._gallery_squares[gallery[own]])[:, None]
                distances[own] = query.sub_(entry).square_().sum(dim=1) / 2
            else:
                distances[own] = query.sub_(entry).square_().sum(dim=1).sqrt()

        for_each_row(measure, -(-len(queries) // step))
        return distances


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
    if tensor.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected (images, dimensions).")
    return (tensor.float() if tensor.dtype == torch.float64 else tensor).contiguous()


def squared_norms(name: str, features: Tensor) -> Tensor:
    """Squared length of each row in float32, `(N,)`.

    Raises:
        ValueError: If a row holds NaN or infinity, or is too long for float32.
    """
    squares = torch.empty(len(features), device=features.device)
    for start in range(0, len(features), _CHUNK // 4):
        rows = features[start : start + _CHUNK // 4].float()
        squares[start : start + len(rows)] = rows.square().sum(dim=1)
    wrong = squares.isfinite().logical_not().nonzero()
    if len(wrong) > 0:
        raise ValueError(f"{name} row {wrong[0].item()} is not finite: look for NaN or overflow in the model's output.")
    return squares


def _norms(squares: Tensor) -> Tensor:
    return squares.sqrt().clamp(min=torch.finfo(torch.float32).tiny)  # a zero feature is at cosine 0 from everything


def _multiply(query: Tensor, gallery: Tensor, out: Tensor) -> None:
    """Writes `query @ gallery.T` into `out`."""
    if out.device.type == "cpu":
        # NumPy's BLAS keeps its speed with few query rows, which is what a wide gallery leaves room for.
        np.matmul(query.numpy(), gallery.numpy().T, out=out.numpy())
    else:
        with _full_precision(out.device.type):
            torch.mm(query, gallery.T, out=out)


def _finish_euclidean(block: Tensor, query_squares: Tensor, gallery_squares: Tensor) -> None:
    """Turns −2·q·g into |q − g|, in place."""
    if block.device.type != "cpu":
        block.add_(gallery_squares).add_(query_squares[:, None]).clamp_(min=0).sqrt_()
        return
    rows, own, others = block.numpy(), query_squares.numpy(), gallery_squares.numpy()

    def finish(row: int) -> None:
        values = rows[row]
        values += others
        values += own[row]
        np.maximum(values, 0, out=values)
        np.sqrt(values, out=values)

    for_each_row(finish, len(rows))


def _finish_cosine(block: Tensor, gallery_norms: Tensor) -> None:
    """Turns −q·g / |q| into 1 − cos, in place."""
    if block.device.type != "cpu":
        block.div_(gallery_norms).add_(1)
        return
    rows, norms = block.numpy(), gallery_norms.numpy()

    def finish(row: int) -> None:
        values = rows[row]
        values /= norms
        values += 1

    for_each_row(finish, len(rows))


@contextmanager
def _full_precision(device_type: str) -> Iterator[None]:
    """Neither autocast nor TF32 may decide who ranks first."""
    setting = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(setting)
