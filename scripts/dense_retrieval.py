"""The straightforward code that `benchmark_retrieval` compares with: whole matrices, as most repositories have it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float32]


def squared_distances(query: Tensor, gallery: Tensor) -> Matrix:
    """All squared Euclidean distances, `(Q, G)`."""
    squares = query.square().sum(dim=1)[:, None] + gallery.square().sum(dim=1)
    return squares.addmm_(query, gallery.T, alpha=-2).numpy()


def dense_map(
    distances: Matrix,
    ids: tuple[NDArray[np.int64], NDArray[np.int64]],
    cameras: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> float:
    """Mean average precision by sorting whole rows, entries of the query's identity and camera left out."""
    order = np.argsort(distances, axis=1, kind="stable")
    matches = ids[1][order] == ids[0][:, None]
    junk = matches & (cameras[1][order] == cameras[0][:, None])
    precisions = []
    for right, ignored in zip(matches, junk, strict=True):
        hits = right[~ignored]
        if hits.any():
            precisions.append((hits.cumsum() / np.arange(1, len(hits) + 1))[hits].mean())
    return float(np.mean(precisions))


def dense_k_reciprocal(
    query: Tensor, gallery: Tensor, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> NDArray[np.floating]:
    """Re-ranked distances, `(Q, G)`, the way of the authors' Python code: N × N matrices and a loop over images."""
    features, n_queries = torch.cat([query, gallery]), len(query)
    original = squared_distances(features, features)
    original = np.transpose(original / original.max(axis=0))
    ranks = np.argsort(original).astype(np.int32)
    count, half = len(original), int(np.around(k1 / 2))
    encoding = np.zeros((count, count), dtype=np.float16)
    for image in range(count):
        members = _reciprocal(ranks, image, k1)
        expanded = members
        for member in members:
            others = _reciprocal(ranks, member, half)
            if len(np.intersect1d(others, members)) > 2 / 3 * len(others):
                expanded = np.append(expanded, others)
        expanded = np.unique(expanded)
        weights = np.exp(-original[image, expanded])
        encoding[image, expanded] = weights / weights.sum()
    original = original[:n_queries]
    if k2 > 1:
        averaged = np.zeros_like(encoding)
        for image in range(count):
            averaged[image] = encoding[ranks[image, :k2]].mean(axis=0)
        encoding = averaged
    del ranks
    holders = [np.flatnonzero(encoding[:, member]) for member in range(count)]
    jaccard = np.zeros_like(original, dtype=np.float16)
    for image in range(n_queries):
        shared = np.zeros(count, dtype=np.float16)
        for member in np.flatnonzero(encoding[image]):
            own = holders[member]
            shared[own] += np.minimum(encoding[image, member], encoding[own, member])
        jaccard[image] = 1 - shared / (2 - shared)
    return ((1 - lambda_value) * jaccard + lambda_value * original)[:, n_queries:]


def _reciprocal(ranks: NDArray[np.int32], image: int, k: int) -> NDArray[np.int32]:
    forward = ranks[image, : k + 1]
    return forward[(ranks[forward, : k + 1] == image).any(axis=1)]
