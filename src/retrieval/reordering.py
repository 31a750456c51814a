"""Changes of the order of a ranking. The new distance of an entry is its place, 0 for the first."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.distances.feature_distance import Distance, Rows
from src.retrieval.relevance import Integers
from src.runtime.threads import for_each

Floats = NDArray[np.float32]


class _Places(ABC):
    """A ranking of whole rows: `keys` orders a row's entries, in two steps."""

    shape: tuple[int, int]

    def __init__(self, distance: Distance) -> None:
        self._distance = distance

    @property
    def device(self) -> torch.device:
        """Device of the blocks."""
        return self._distance.device

    @abstractmethod
    def _rows(self, queries: Rows) -> list[Floats]:
        """Arguments of `_order` for some queries, each array with one row a query."""

    @abstractmethod
    def _order(self, *rows: Floats) -> tuple[Integers, NDArray[np.bool_]]:
        """The entries of one row, first to last, and which of all entries are out of the list."""

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Places of some gallery entries for some queries, float32 `(q, g)`; infinite where filtered."""
        sources = self._rows(queries)
        places = np.empty((len(sources[0]), self.shape[1]), dtype=np.float32)  # exact up to 16 million

        def rank(row: int) -> None:
            order, hidden = self._order(*(source[row] for source in sources))
            places[row, order] = np.arange(len(order))
            places[row, hidden] = np.inf

        for_each(rank, len(places))
        block = torch.from_numpy(places).to(self.device)
        return block[:, gallery] if not _whole(gallery, self.shape[1]) else block


class ExpandedTracks(_Places):
    """A ranking of tracks as one of their images: track after track, in each the images nearest to the query first.

    Args:
        tracks: Distance from queries to tracks.
        images: Distance from the same queries to the tracks' images.
        owner: Track of each image, a column of `tracks`.
    """

    def __init__(self, tracks: Distance, images: Distance, owner: Integers) -> None:
        super().__init__(tracks)
        self._images = images
        self._owner = owner
        self.shape = images.shape

    def _rows(self, queries: Rows) -> list[Floats]:
        whole = (self._distance, self._images)
        return [distance.block(queries, slice(0, distance.shape[1])).cpu().numpy() for distance in whole]

    def _order(self, *rows: Floats) -> tuple[Integers, NDArray[np.bool_]]:
        tracks, images = rows
        place = np.empty(len(tracks), dtype=np.int64)
        place[tracks.argsort(kind="stable")] = np.arange(len(tracks))
        hidden = np.isinf(images) | np.isinf(tracks)[self._owner]
        return np.lexsort((images, place[self._owner])), hidden


class GroupReranking(_Places):
    """Inserts the rest of a track behind its first image, if that is nearer to the query than θ.

    The second half of the attribute-guided network's group re-ranking (Section 3.3); the first is `group_queries`.

    Args:
        images: Distance from queries to gallery images.
        tracks: Track of each image, consecutive numbers from 0.
        theta: θ, in the unit of `images`.
    """

    def __init__(self, images: Distance, tracks: Integers, theta: float) -> None:
        super().__init__(images)
        self._tracks = tracks
        self._theta = theta
        self.shape = images.shape

    def _rows(self, queries: Rows) -> list[Floats]:
        return [self._distance.block(queries, slice(0, self.shape[1])).cpu().numpy()]

    def _order(self, *rows: Floats) -> tuple[Integers, NDArray[np.bool_]]:
        (distances,) = rows
        order = distances.argsort(kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        first = np.full(self._tracks.max(initial=-1) + 1, len(order))
        np.minimum.at(first, self._tracks, place)
        leader = first[self._tracks]
        leader = np.where(distances[order][leader] < self._theta, leader, place)
        return np.lexsort((place, leader)), np.isinf(distances)


def _whole(rows: Rows, count: int) -> bool:
    return isinstance(rows, slice) and (rows.start, rows.stop) == (0, count)
