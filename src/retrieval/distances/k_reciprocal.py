"""k-reciprocal re-ranking (Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017).

The common code holds several N × N matrices for N queries and gallery entries together. Here every neighbourhood is
a sparse row, and distances are made block by block.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.distances.feature_distance import (
    Distance,
    FeatureDistance,
    Features,
    Metric,
    PairDistance,
    Rows,
    feature_tensor,
)
from src.retrieval.distances.sparse import SparseRows
from src.retrieval.distances.terms import shifted
from src.retrieval.exact_evaluation import block_rows
from src.retrieval.ranking import nearest
from src.retrieval.relevance import Integers
from src.runtime.threads import for_each, map_each

_CHUNK = 64  # images whose neighbourhoods are encoded together
_ENTRY_BYTES = 12  # an index and a weight


def k_reciprocal(
    query: Features,
    gallery: Features,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: Metric = "euclidean",
    max_memory_gb: float = 8,
) -> "KReciprocalDistance":
    """Re-ranked distance between two sets of embeddings, for `evaluate_distance`; see `KReciprocalDistance`."""
    both = torch.cat([feature_tensor("query", query), feature_tensor("gallery", gallery)])
    return KReciprocalDistance(
        FeatureDistance(both, both, metric),
        len(query),
        k1=k1,
        k2=k2,
        lambda_value=lambda_value,
        max_memory_gb=max_memory_gb,
    )


class KReciprocalDistance:
    """`(1 − λ) · Jaccard + λ · original`, from the queries to the gallery (Eq. 12).

    The original distance is squared and divided by the row's largest, as in the authors' code; its neighbourhoods
    hold the `k1` nearest, are expanded by those of `k1 / 2` (rounded half to even) and averaged over the `k2` nearest.

    Args:
        everything: Symmetric distance of queries and gallery together, queries first, to themselves, `(N, N)`.
        n_queries: How many of the N are queries.
        k1: Size of the neighbourhoods.
        k2: How many neighbours' encodings are averaged; 1 leaves them as they are.
        lambda_value: Weight λ of the original distance.
        queries_in_gallery: Measure from the queries to all N instead of to the gallery alone.
        block_mb: Memory for one block of distances, in MiB.
        max_memory_gb: What the neighbourhoods may take, estimated before the work starts.

    Raises:
        ValueError: If a parameter is out of range or the sizes do not fit.
        MemoryError: If the estimate exceeds `max_memory_gb`.
    """

    def __init__(
        self,
        everything: PairDistance,
        n_queries: int,
        *,
        k1: int = 20,
        k2: int = 6,
        lambda_value: float = 0.3,
        queries_in_gallery: bool = False,
        block_mb: float = 128,
        max_memory_gb: float = 8,
    ) -> None:
        count, columns = everything.shape
        if count != columns or not 0 <= n_queries <= count:
            raise ValueError(
                f"everything is {count} × {columns} with {n_queries} queries, expected all N images against all N."
            )
        if not 1 <= k2 <= k1 + 1:
            raise ValueError(f"k1 is {k1} and k2 is {k2}, expected 1 ≤ k2 ≤ k1 + 1.")
        if not 0 <= lambda_value <= 1:
            raise ValueError(f"lambda_value is {lambda_value}, expected a weight between 0 and 1.")
        estimate = memory_estimate(count, k1, k2) / 1e9
        if estimate > max_memory_gb:
            raise MemoryError(
                f"Re-ranking {count} images with k1={k1} and k2={k2} takes about {estimate:.1f} GB and max_memory_gb "
                f"is {max_memory_gb}: lower k1 or k2, or raise the limit."
            )
        self._everything = everything
        self._n_queries = n_queries
        self._first_entry = 0 if queries_in_gallery else n_queries
        self._lambda = lambda_value
        lists, distances, self._farthest = _neighbours(everything, min(k1 + 1, count), block_mb)
        encoding = _encode(everything, lists, distances, self._farthest, int(np.around(k1 / 2)) + 1)
        if k2 > 1:
            encoding = _average(encoding, lists[:, :k2])
        self._encoding = encoding
        self._gallery = encoding.rows_from(self._first_entry).transposed(count)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries, number of gallery entries."""
        return self._n_queries, self._everything.shape[0] - self._first_entry

    @property
    def device(self) -> torch.device:
        """Device of the blocks."""
        return self._everything.device

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Re-ranked distances of some queries to some gallery entries, float32 `(q, g)`."""
        block = self._everything.block(queries, shifted(gallery, self._first_entry)).cpu()
        rows, values = np.arange(self._n_queries)[_numpy_index(queries)], block.numpy()
        columns = _numpy_index(gallery)

        def blend(row: int) -> None:
            original = values[row]
            original *= original
            original *= self._lambda / self._farthest[rows[row]]
            shared = self._shared(rows[row])[columns]
            original += (1 - self._lambda) * (1 - shared / (2 - shared))

        for_each(blend, len(rows))
        return block.to(self.device)

    def _shared(self, query: int) -> NDArray[np.float32]:
        """Sum of the smaller of two encodings' weights, the query's and each gallery entry's, `(G,)`."""
        members, weights = self._encoding.row(query)
        rows, position = self._gallery.positions(members)
        smaller = np.minimum(weights[rows], self._gallery.values[position])
        return np.bincount(self._gallery.columns[position], smaller, self.shape[1]).astype(np.float32)


def memory_estimate(count: int, k1: int, k2: int) -> int:
    """Bytes that the neighbourhoods of `count` images take.

    An expanded neighbourhood holds about 2 · k1 images, the average of k2 of them at most k2 times as many, and the
    transposed copy as much again.
    """
    return count * (k1 + 1) * (8 + 4) + 2 * count * min(2 * (k1 + 1) * k2, count) * _ENTRY_BYTES


def _neighbours(
    distance: Distance, k: int, block_mb: float
) -> tuple[Integers, NDArray[np.float32], NDArray[np.float64]]:
    """The `k` nearest of every image, nearest first, their distances, and the image's largest squared distance."""
    count = distance.shape[0]
    lists, distances = np.empty((count, k), dtype=np.int64), np.empty((count, k), dtype=np.float32)
    farthest = np.empty(count)
    rows = block_rows(count, block_mb)
    for start in range(0, count, rows):
        images = slice(start, min(start + rows, count))
        block = distance.block(images, slice(0, count))
        lists[images], distances[images] = (part.cpu().numpy() for part in nearest(block, k))
        farthest[images] = block.amax(dim=1).double().square().cpu().numpy()
        del block  # before the next one is made
    return lists, distances, np.maximum(farthest, np.finfo(np.float32).tiny)


def _encode(
    distance: PairDistance,
    lists: Integers,
    distances: NDArray[np.float32],
    farthest: NDArray[np.float64],
    half: int,
) -> SparseRows:
    """Weights of every image's expanded k-reciprocal neighbourhood (Eqs. 3 to 5 and 7), summing to one."""
    reciprocal, half_lists = _reciprocal(lists), lists[:, :half]
    half_reciprocal = _reciprocal(half_lists)
    count = len(lists)

    def expand(start: int) -> Integers:
        """The members of a chunk of neighbourhoods as row · N + column, row counted from `start`, in order."""
        rows, place = np.nonzero(reciprocal[start : start + _CHUNK])
        members = lists[start + rows, place]
        first = np.sort(rows * count + members)
        others, mutual = half_lists[members], half_reciprocal[members]
        keys = rows[:, None] * count + others
        known = first[np.searchsorted(first, keys).clip(max=len(first) - 1)] == keys if len(first) else mutual
        accepted = 3 * (known & mutual).sum(axis=1) > 2 * mutual.sum(axis=1)
        return np.unique(np.concatenate([first, keys[mutual & accepted[:, None]]]))

    starts = range(0, count, _CHUNK)
    chunks = map_each(lambda number: expand(starts[number]), len(starts))
    parts = [start * count + chunk for start, chunk in zip(starts, chunks, strict=True)]
    keys = np.concatenate([np.empty(0, dtype=np.int64), *parts])
    rows, members = np.divmod(keys, max(count, 1))
    measured = _measured(distance, lists, distances, keys)
    weights = np.exp(-np.square(measured) / farthest[rows])
    weights /= np.bincount(rows, weights, count)[rows]
    return SparseRows.from_pairs(count, rows, members, weights)


def _measured(
    distance: PairDistance, lists: Integers, distances: NDArray[np.float32], keys: Integers
) -> NDArray[np.float64]:
    """Distances of pairs of images, key row · N + column: known ones from the lists, and only the others anew."""
    count = max(len(lists), 1)
    listed = (np.arange(len(lists))[:, None] * count + lists).ravel()
    order = listed.argsort(kind="stable")
    place = order[np.searchsorted(listed, keys, sorter=order).clip(max=max(len(order) - 1, 0))]
    measured = distances.ravel()[place].astype(np.float64)
    (others,) = np.nonzero(listed[place] != keys)
    rows, columns = (torch.from_numpy(side).to(distance.device) for side in np.divmod(keys[others], count))
    measured[others] = distance.pairs(rows, columns).double().cpu().numpy()
    return measured


def _reciprocal(lists: Integers) -> NDArray[np.bool_]:
    """Mask of an image's neighbours that have the image among theirs, `(N, k)`."""
    mutual = np.empty(lists.shape, dtype=bool)
    for start in range(0, len(lists), _CHUNK):
        part = slice(start, start + _CHUNK)
        images = np.arange(len(lists))[part, None, None]
        mutual[part] = (lists[lists[part]] == images).any(axis=2)
    return mutual


def _average(encoding: SparseRows, lists: Integers) -> SparseRows:
    """Mean of the encodings of each image's listed neighbours (Eq. 11)."""
    count = len(lists)
    starts = range(0, count, _CHUNK)

    def average(chunk: int) -> SparseRows:
        listed = lists[starts[chunk] : starts[chunk] + _CHUNK]
        neighbour, position = encoding.positions(listed.ravel())
        keys = neighbour // lists.shape[1] * count + encoding.columns[position]
        unique, place = np.unique(keys, return_inverse=True)
        means = np.bincount(place, encoding.values[position]) / lists.shape[1]
        return SparseRows.from_pairs(len(listed), unique // count, unique % count, means)

    return SparseRows.stacked(map_each(average, len(starts)))


def _numpy_index(rows: Rows) -> slice | Integers:
    return rows if isinstance(rows, slice) else rows.cpu().numpy()
