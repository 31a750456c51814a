"""Distances to tracks: the same vehicle seen by one camera in consecutive frames."""

import numpy as np
import torch
from torch import Tensor

from src.retrieval.distances.feature_distance import Distance, Rows
from src.retrieval.relevance import Integers, Labels, integer_labels

_CHUNK = 4096  # gallery images looked at together


class TrackDistance:
    """Distance from a query image to a track, that of the track's nearest image (VeRi-776's image-to-track rule).

    Args:
        images: Distance to the gallery's images.
        tracks: Track of each gallery image, `(G,)` integers. Column t of a block is the t-th smallest track number.

    Raises:
        ValueError: If there is not one track for each gallery image.
    """

    def __init__(self, images: Distance, tracks: Labels) -> None:
        numbers = integer_labels("gallery_tracks", tracks, images.shape[1])
        self._images = images
        self._order = torch.from_numpy(np.argsort(numbers, kind="stable")).to(images.device)
        self.tracks, lengths = np.unique(numbers, return_counts=True)
        self._lengths = torch.from_numpy(lengths).to(images.device)
        self._ends = self._lengths.cumsum(0)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries, number of tracks."""
        return self._images.shape[0], len(self.tracks)

    @property
    def device(self) -> torch.device:
        """Device of the blocks."""
        return self._images.device

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Distances of some queries to some tracks, float32 `(q, t)`."""
        lengths, ends = self._lengths[gallery], self._ends[gallery]
        owner = torch.arange(len(lengths), device=self.device).repeat_interleave(lengths)
        within = torch.arange(len(owner), device=self.device) - (lengths.cumsum(0) - lengths)[owner]
        images = self._order[(ends - lengths)[owner] + within]
        n_queries = len(range(*queries.indices(self.shape[0]))) if isinstance(queries, slice) else len(queries)
        nearest = torch.full((n_queries, len(lengths)), torch.inf, device=self.device)
        for part, columns in zip(images.split(_CHUNK), owner.split(_CHUNK), strict=True):
            block = self._images.block(queries, part)
            nearest.scatter_reduce_(1, columns.expand_as(block), block, "amin")
        return nearest


def label_of_track(name: str, labels: Labels, tracks: Labels) -> Integers:
    """The one label that all images of a track share, in order of the track numbers.

    Args:
        name: What error messages call the labels.
        labels: Label of each gallery image, `(G,)` integers.
        tracks: Track of each gallery image, `(G,)` integers.

    Raises:
        ValueError: If a track mixes labels.
    """
    numbers = integer_labels("gallery_tracks", tracks)
    values = integer_labels(name, labels, len(numbers))
    unique, first, track = np.unique(numbers, return_index=True, return_inverse=True)
    mixed = np.flatnonzero(values[first][track] != values)
    if len(mixed) > 0:
        image = mixed[0]
        both = f"{values[first[track[image]]]} and {values[image]}"
        raise ValueError(
            f"Track {unique[track[image]]} has both {both} in {name}: a track shows one vehicle and camera."
        )
    return values[first]
