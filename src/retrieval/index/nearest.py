"""Exact nearest-neighbour lists, by FAISS or by torch."""

from types import ModuleType
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.distances.feature_distance import FeatureDistance, Features, Metric, feature_tensor
from src.retrieval.exact_evaluation import block_rows
from src.retrieval.ranking import nearest
from src.retrieval.relevance import Integers, Relevance

Backend = Literal["faiss", "torch"]

SPARE = 16  # candidates beyond k: the product's rounding may swap neighbours at the end of a list
_FAISS_GPU_LIMIT = 2048  # the longest list FAISS selects on a GPU


def search(
    query: Features,
    gallery: Features,
    k: int,
    *,
    backend: Backend = "faiss",
    metric: Metric = "euclidean",
    relevance: Relevance | None = None,
    block_mb: float = 128,
) -> tuple[Integers, NDArray[np.float32]]:
    """The `k` nearest gallery entries of each query.

    Candidates come from large matrix products. Their final distances come from the features' differences, which
    do not cancel, and decide the order; equal distances stay in gallery order. So both back ends give the same lists,
    unless more than 16 entries tie at the end of one.

    Args:
        query: Embeddings `(Q, D)`.
        gallery: Embeddings `(G, D)` on the same device.
        k: Length of the lists.
        backend: `"faiss"` searches on a GPU if the installed FAISS sees one, else on the CPU, with the gallery in
            float32; lists too long for its GPU search go to torch. `"torch"` searches where the features lie.
        metric: What distances are, see `FeatureDistance`.
        relevance: If given, the entries it ignores are left out of the lists.
        block_mb: Memory for one block of distances, in MiB.

    Returns:
        Indices and distances `(Q, k)`, nearest first; index −1 and distance infinity where fewer than `k` are left.

    Raises:
        ValueError: If an argument is out of range or sizes do not fit.
        ModuleNotFoundError: If FAISS is asked for and not installed.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend is {backend!r}, expected one of {', '.join(get_args(Backend))}.")
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1 neighbour.")
    distance = FeatureDistance(query, gallery, metric)
    n_queries, n_gallery = distance.shape
    if relevance is not None and (relevance.n_queries, relevance.n_gallery) != distance.shape:
        raise ValueError(
            f"relevance has {relevance.n_queries} queries and {relevance.n_gallery} gallery entries, "
            f"expected {n_queries} and {n_gallery}."
        )
    faiss = import_faiss("backend='faiss'", "backend='torch'") if backend == "faiss" else None
    indices = np.full((n_queries, k), -1, dtype=np.int64)
    distances = np.full((n_queries, k), np.inf, dtype=np.float32)
    if n_queries == 0 or n_gallery == 0:
        return indices, distances

    queries, entries = feature_tensor("query", query), feature_tensor("gallery", gallery)
    wanted = min(k + _most_ignored(relevance) + SPARE, n_gallery)
    if faiss is None or (faiss.get_num_gpus() > 0 and wanted > _FAISS_GPU_LIMIT):
        candidates = _torch_candidates(distance, wanted, block_rows(n_gallery, block_mb))
    else:
        candidates = _faiss_candidates(faiss, queries, entries, wanted, metric)
    candidates.sort(axis=1)  # so that equal distances stay in gallery order

    rows = block_rows(wanted, block_mb)
    for start in range(0, n_queries, rows):
        stop = min(start + rows, n_queries)
        listed = candidates[start:stop]
        owners = torch.arange(start, stop, device=distance.device).repeat_interleave(wanted)
        exact = distance.pairs(owners, torch.from_numpy(listed).to(distance.device).flatten()).view(listed.shape)
        if relevance is not None:
            ignored = relevance.pairs(start, stop)[1]
            row_keys = np.arange(len(listed))[:, None] * n_gallery
            exact[torch.from_numpy(np.isin(row_keys + listed, ignored.rows * n_gallery + ignored.columns))] = torch.nan
        order, values = (part.cpu().numpy() for part in nearest(exact, min(k, wanted)))
        columns = np.take_along_axis(listed, order, axis=1)
        indices[start:stop, : columns.shape[1]] = np.where(order < 0, -1, columns)
        distances[start:stop, : columns.shape[1]] = values
    return indices, distances


def _most_ignored(relevance: Relevance | None) -> int:
    """The largest number of entries that any query ignores."""
    if relevance is None:
        return 0
    ignored = relevance.pairs(0, relevance.n_queries)[1]
    return int(np.bincount(ignored.rows, minlength=1).max())


def _torch_candidates(distance: FeatureDistance, k: int, rows: int) -> Integers:
    n_queries, n_gallery = distance.shape
    candidates = np.empty((n_queries, k), dtype=np.int64)
    for start in range(0, n_queries, rows):
        queries = slice(start, min(start + rows, n_queries))
        candidates[queries] = nearest(distance.block(queries, slice(0, n_gallery)), k)[0].cpu().numpy()
    return candidates


def _faiss_candidates(faiss: ModuleType, query: Tensor, gallery: Tensor, k: int, metric: Metric) -> Integers:
    if metric in ("cosine", "angle"):
        query, gallery = (torch.nn.functional.normalize(features.float()) for features in (query, gallery))
        measure = faiss.METRIC_INNER_PRODUCT
    else:
        measure = faiss.METRIC_L2
    arrays = query.float().cpu().numpy(), gallery.float().cpu().numpy()
    if faiss.get_num_gpus() > 0:
        return faiss.knn_gpu(faiss.StandardGpuResources(), *arrays, k, metric=measure)[1]
    return faiss.knn(*arrays, k, metric=measure)[1]


def import_faiss(setting: str, instead: str) -> ModuleType:
    """FAISS, if it is installed.

    Args:
        setting: What asks for it, as the user wrote it.
        instead: What the user can write to do without.

    Raises:
        ModuleNotFoundError: If it is not.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{setting} needs FAISS, which is not installed: install faiss-gpu or faiss-cpu, "
            f"or choose {instead}, which gives exact lists without it."
        ) from error
    return faiss
