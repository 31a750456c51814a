"""Searches a gallery for tracks instead of images."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from src.gallery.filters import Filters
from src.gallery.gallery import ROUNDING, Gallery, Hit
from src.retrieval.track_features import average_track_features, track_numbers, weighted_track_features

TrackFeature = Literal["mean", "weighted"]


@dataclass(frozen=True, kw_only=True)
class TrackHit(Hit):
    """A track that was found.

    Attributes:
        row: Its image most like the query, of those that are searched.
        score: Cosine similarity of the track's feature to the query, at most 1.
        probability: That this image shows the query's vehicle; None if unknown.
        rows: All its images that are searched, in order of time.
    """

    rows: list[int]


def track_times(gallery: Gallery, hit: TrackHit) -> dict[str, Any]:
    """When a track begins and ends, ready for JSON; None where no time is known."""
    known = gallery.table["timestamp"].iloc[hit.rows].dropna()
    first, last = (float(known.iloc[0]), float(known.iloc[-1])) if len(known) else (None, None)
    return {"first": first, "last": last, "time": gallery.span_text(first, last)}


@dataclass
class Tracks:
    """The tracks of a gallery; an image without one is a track of its own.

    Attributes:
        gallery: Whose.
        feature: `"mean"` is the mean of a track's images; `"weighted"` weighs them by how near they are to the query
            (He et al., Multi-domain learning and identity mining, Eqs. 4 and 5).
        numbers: Track of each image, from 0.
    """

    gallery: Gallery
    feature: TrackFeature = "mean"
    numbers: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        if self.feature not in get_args(TrackFeature):
            raise ValueError(f"tracks is {self.feature!r}, expected {' or '.join(get_args(TrackFeature))}.")
        self.numbers = track_numbers(self.gallery.table["track_id"].to_numpy(dtype=np.int64))

    @cached_property
    def _means(self) -> NDArray[np.float32]:
        """Features `(T, D)` of the tracks; only who searches tracks waits for them."""
        return average_track_features(torch.from_numpy(self.gallery.features), self.numbers).numpy()

    @property
    def any(self) -> bool:
        """Whether any track has more than one image."""
        return int(self.numbers.max(initial=-1)) + 1 < len(self.gallery)

    def rows_of(self, row: int) -> list[int]:
        """The images of the track that an image is of, in order of time."""
        return self._by_time(np.flatnonzero(self.numbers == self.numbers[row]))

    def mean_of(self, row: int) -> NDArray[np.float32]:
        """Feature `(1, D)` of the track that an image is of."""
        return self._means[self.numbers[row] : self.numbers[row] + 1]

    def search(
        self,
        query: NDArray[np.float32],
        top: int,
        filters: Filters | None = None,
        threshold: float = -1.0,
        leave_out: int | None = None,
    ) -> list[TrackHit]:
        """The tracks most like the query, best first.

        Args:
            query: Embeddings `(Q, D)` of one vehicle, L2-normalised; their mean is compared.
            top: Length of the list.
            filters: Which images to search; a track is searched if one of its images is.
            threshold: Least score.
            leave_out: An image whose track is not searched.

        Raises:
            ValueError: If a filter names what is not there, or the query is of another model.
        """
        if query.shape[1] != self._means.shape[1]:
            raise ValueError(
                f"The query has {query.shape[1]} dimensions and the gallery {self._means.shape[1]}: both must be "
                "embedded by one checkpoint."
            )
        kept = (filters or Filters()).keep(self.gallery.table)
        mean = query.mean(axis=0)
        mean /= np.linalg.norm(mean)
        features = self._means
        if self.feature == "weighted":
            images = torch.from_numpy(self.gallery.features)
            features = weighted_track_features(torch.from_numpy(query), images, self.numbers).numpy()
        scores = features @ mean
        searched = np.unique(self.numbers[kept])
        if leave_out is not None:
            searched = searched[searched != self.numbers[leave_out]]
        order = searched[np.argsort(-scores[searched], kind="stable")][:top]
        return [
            self._hit(track, float(scores[track]), kept, mean)
            for track in order
            if scores[track] >= threshold - ROUNDING
        ]

    def _hit(self, track: int, score: float, kept: NDArray[np.bool_], query: NDArray[np.float32]) -> TrackHit:
        rows = np.flatnonzero((self.numbers == track) & kept)
        best = rows[int((self.gallery.features[rows] @ query).argmax())]
        return TrackHit(row=int(best), score=score, rows=self._by_time(rows))

    def _by_time(self, rows: NDArray[np.int64]) -> list[int]:
        times = self.gallery.table["timestamp"].to_numpy()[rows]
        return [int(row) for row in rows[np.argsort(times, kind="stable")]]
