"""Exact mAP, CMC and mINP over a gallery of any size, in bounded memory."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.distances.feature_distance import Distance, FeatureDistance, Features, Metric
from src.retrieval.distances.track_distance import TrackDistance, label_of_track
from src.retrieval.metrics import AP, MISSED, FilterCounts, RetrievalResult
from src.retrieval.ranking import nearest, rank_positives
from src.retrieval.relevance import Ignore, Integers, Labels, Pairs, Relevance

_MAX_ROWS = 512  # more query rows make neither the product nor the ranking faster


def evaluate(
    query: Features,
    gallery: Features,
    query_ids: Labels,
    gallery_ids: Labels,
    *,
    query_cameras: Labels | None = None,
    gallery_cameras: Labels | None = None,
    query_items: Labels | None = None,
    gallery_items: Labels | None = None,
    gallery_tracks: Labels | None = None,
    ignore: Ignore = "none",
    ap: AP = "standard",
    top_k: int = 0,
    metric: Metric = "euclidean",
    block_mb: float = 128,
) -> RetrievalResult:
    """Ranks the gallery for every query by the distance of their embeddings.

    Args:
        query: Embeddings `(Q, D)`, float16, bfloat16 or float32, NumPy or torch.
        gallery: Embeddings `(G, D)` on the same device.
        query_ids: Identity of each query.
        gallery_ids: Identity of each gallery image; −1 marks a distractor, which is never positive.
        query_cameras: Camera of each query.
        gallery_cameras: Camera of each gallery image.
        query_items: Image number of each query.
        gallery_items: Image number of each gallery image.
        gallery_tracks: Track of each gallery image. If given, tracks are ranked instead of images, by their nearest
            image, and `RetrievalResult.indices` counts tracks in order of their numbers.
        ignore: Which entries to take out of a query's ranking: `"same_camera"` those of its identity and camera,
            `"same_image"` those with its item number.
        ap: `"standard"` or `"trapezoid"`, see `RetrievalResult.ap_kind`.
        top_k: How many of each query's nearest entries to keep in the result.
        metric: `"euclidean"` or `"cosine"`.
        block_mb: Memory for one block of distances, in MiB. At least one query row is held.

    Raises:
        ValueError: If lengths or shapes do not fit, a needed array is missing, a track mixes labels, or a feature is
            not finite.
        TypeError: If labels are not integers or features not floating point.
    """
    distance: Distance = FeatureDistance(query, gallery, metric)
    if gallery_tracks is not None:
        if ignore == "same_image":
            raise ValueError("ignore='same_image' asks for images, but gallery_tracks ranks tracks: drop one of them.")
        distance = TrackDistance(distance, gallery_tracks)
        gallery_ids = label_of_track("gallery_ids", gallery_ids, gallery_tracks)
        if gallery_cameras is not None:
            gallery_cameras = label_of_track("gallery_cameras", gallery_cameras, gallery_tracks)
    relevance = Relevance(
        query_ids,
        gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
        query_items=query_items,
        gallery_items=gallery_items,
        ignore=ignore,
    )
    return evaluate_distance(distance, relevance, ap=ap, top_k=top_k, block_mb=block_mb)


def evaluate_distance(
    distance: Distance,
    relevance: Relevance,
    *,
    filter_counts: FilterCounts = "miss",
    ap: AP = "standard",
    top_k: int = 0,
    block_mb: float = 128,
) -> RetrievalResult:
    """Ranks the gallery for every query by any distance, a block of queries at a time.

    Args:
        distance: Distance from queries to gallery entries; infinite where a filter took an entry out of the list.
        relevance: What is right and what is ignored, for the same queries and gallery entries.
        filter_counts: Whether a filtered positive counts as missed or is dropped from the denominator.
        ap: `"standard"` or `"trapezoid"`, see `RetrievalResult.ap_kind`.
        top_k: How many of each query's nearest entries to keep in the result.
        block_mb: Memory for one block of distances, in MiB. At least one query row is held.

    Raises:
        ValueError: If sizes differ, or the distance to a positive is NaN.
    """
    n_queries, n_gallery = distance.shape
    if (relevance.n_queries, relevance.n_gallery) != distance.shape:
        raise ValueError(
            f"There are labels for {relevance.n_queries} queries and {relevance.n_gallery} gallery entries, "
            f"expected {n_queries} and {n_gallery}: one for each row of the distance."
        )
    rows = block_rows(n_gallery, block_mb)
    n_positives = np.zeros(n_queries, dtype=np.int64)
    ranks, indices, distances = [], [], []
    ties = 0
    for start in range(0, n_queries, rows):
        stop = min(start + rows, n_queries)
        positives, ignored = relevance.pairs(start, stop)
        n_positives[start:stop] = np.bincount(positives.rows, minlength=stop - start)
        block = distance.block(slice(start, stop), slice(0, n_gallery))
        if _values(block, positives).isnan().any():
            raise ValueError(f"A distance of the queries {start} to {stop - 1} to their positives is NaN.")
        block[torch.from_numpy(ignored.rows), torch.from_numpy(ignored.columns)] = torch.nan
        block_ranks, block_ties = _rank(block, positives)
        ranks.append(block_ranks)
        ties += block_ties
        if top_k > 0:
            block_indices, block_distances = nearest(block, top_k)
            block_indices[block_distances.isinf()] = -1
            indices.append(block_indices.cpu().numpy())
            distances.append(block_distances.cpu().numpy())
        del block  # before the next one is made
    return RetrievalResult.from_ranks(
        np.concatenate([*ranks, np.empty(0, dtype=np.int64)]),
        n_positives,
        n_gallery=n_gallery,
        ties=ties,
        filter_counts=filter_counts,
        ap=ap,
        indices=np.concatenate(indices) if indices else None,
        distances=np.concatenate(distances) if distances else None,
    )


def rank_lists(distance: Distance, k: int, *, block_mb: float = 128) -> tuple[Integers, NDArray[np.float32]]:
    """The `k` nearest gallery entries of each query by any distance, equal distances in gallery order.

    Args:
        distance: Distance from queries to gallery entries; infinite where a filter took an entry out of the list.
        k: Length of the lists.
        block_mb: Memory for one block of distances, in MiB.

    Returns:
        Indices and distances `(Q, k)`, nearest first; index −1 and distance infinity where fewer than `k` are left.
    """
    n_queries, n_gallery = distance.shape
    indices = np.full((n_queries, k), -1, dtype=np.int64)
    distances = np.full((n_queries, k), np.inf, dtype=np.float32)
    rows = block_rows(n_gallery, block_mb)
    for start in range(0, n_queries, rows):
        part = slice(start, min(start + rows, n_queries))
        places, values = nearest(distance.block(part, slice(0, n_gallery)), k)
        places[values.isinf()] = -1
        indices[part], distances[part] = places.cpu().numpy(), values.cpu().numpy()
    return indices, distances


def _values(block: Tensor, pairs: Pairs) -> Tensor:
    return block[torch.from_numpy(pairs.rows), torch.from_numpy(pairs.columns)]


def _rank(block: Tensor, positives: Pairs) -> tuple[Integers, int]:
    """As `rank_positives`; filtered positives come last in their row, with the rank `MISSED`."""
    missed = _values(block, positives).isinf().cpu().numpy()
    if not missed.any():
        return rank_positives(block, positives)
    ranked, ties = rank_positives(block, positives.where(~missed))
    ranks = np.full(len(missed), MISSED)
    ranks[~missed[np.lexsort((missed, positives.rows))]] = ranked
    return ranks, ties


def block_rows(n_gallery: int, block_mb: float) -> int:
    """Number of query rows of float32 distances that fit into `block_mb` MiB, between 1 and 512.

    Raises:
        ValueError: If `block_mb` is not positive.
    """
    if block_mb <= 0:
        raise ValueError(f"block_mb is {block_mb}, expected a positive number of MiB.")
    return int(np.clip(block_mb * 2**20 // (4 * max(n_gallery, 1)), 1, _MAX_ROWS))
