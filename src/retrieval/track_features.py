"""One feature for a track: the average of its images, or weighted by how near they are to some query."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from src.retrieval.distances.feature_distance import FeatureDistance
from src.retrieval.exact_evaluation import block_rows

_IMAGES = 4096  # images of whole tracks that are compared with all queries together


def track_numbers(tracks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Consecutive track numbers from 0 in the tracks' order; an image without a track (−1) is one of its own."""
    single = tracks < 0
    unique = np.where(single, tracks.max(initial=-1) + 1 + np.cumsum(single) - 1, tracks)
    return np.unique(unique, return_inverse=True)[1].astype(np.int64)


def average_track_features(gallery: Tensor, tracks: NDArray[np.int64]) -> Tensor:
    """Mean feature of each track (AF; He et al., Multi-domain learning and identity mining, Eq. 3).

    Args:
        gallery: L2-normalised `(G, D)`.
        tracks: Track of each image, consecutive numbers from 0.

    Returns:
        L2-normalised `(T, D)`.
    """
    return _weighted(gallery, tracks, torch.ones(len(gallery), device=gallery.device))


def weighted_track_features(
    query: Tensor, gallery: Tensor, tracks: NDArray[np.int64], *, threshold: float = 0.2
) -> Tensor:
    """Feature of each track with its images weighted by how near they are to the queries (WF, Eqs. 4 and 5).

    Queries within `threshold` of any image of a track are thought to show its vehicle; an image at the mean distance A
    from them weighs 1 / (A + 0.01). A track that is near no query gets its mean feature.

    Args:
        query: L2-normalised `(Q, D)`.
        gallery: L2-normalised `(G, D)`.
        tracks: Track of each image, consecutive numbers from 0.
        threshold: Euclidean distance.

    Returns:
        L2-normalised `(T, D)`.
    """
    distance = FeatureDistance(query, gallery)
    order = np.argsort(tracks, kind="stable")
    numbers = tracks[order]
    weights = torch.ones(len(gallery), device=gallery.device)
    rows = block_rows(2 * _IMAGES, block_mb=128)
    for start, stop in _whole_tracks(numbers):
        images = torch.from_numpy(order[start:stop]).to(gallery.device)
        owner = torch.from_numpy(numbers[start:stop] - numbers[start]).to(gallery.device)
        n_tracks = int(owner[-1]) + 1
        total = torch.zeros(len(images), device=gallery.device)
        similar = torch.zeros(n_tracks, device=gallery.device)  # number of queries
        for first in range(0, len(query), rows):
            block = distance.block(slice(first, min(first + rows, len(query))), images)
            nearest = torch.full((len(block), n_tracks), torch.inf, device=block.device)
            nearest.scatter_reduce_(1, owner.expand_as(block), block, "amin")
            chosen = (nearest < threshold).float()
            total += (block * chosen[:, owner]).sum(dim=0)
            similar += chosen.sum(dim=0)
        mean = total / similar[owner]
        weights[images] = torch.where(similar[owner] > 0, 1 / (mean + 0.01), 1.0)
    return _weighted(gallery, tracks, weights)


def _whole_tracks(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cuts sorted track numbers into parts of about `_IMAGES` between two tracks."""
    ends = np.flatnonzero(np.diff(numbers, append=-1)) + 1
    wanted = np.arange(_IMAGES, len(numbers) + _IMAGES, _IMAGES)
    cuts = np.unique(ends[np.searchsorted(ends, wanted).clip(max=len(ends) - 1)])
    return list(pairwise([0, *cuts.tolist()]))


def _weighted(gallery: Tensor, tracks: NDArray[np.int64], weights: Tensor) -> Tensor:
    owner = torch.from_numpy(tracks).to(gallery.device)
    n_tracks = int(tracks.max(initial=-1)) + 1
    sums = torch.zeros(n_tracks, gallery.shape[1], device=gallery.device)
    for part in torch.arange(len(gallery), device=gallery.device).split(_IMAGES):  # not all in float32 together
        sums.index_add_(0, owner[part], gallery[part].float() * weights[part, None])
    return F.normalize(sums)
