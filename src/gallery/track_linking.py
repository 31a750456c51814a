"""Tracks of different cameras that show one vehicle, without a query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from src.retrieval.distances.spatio_temporal import SpatioTemporalTerm, TripModel, camera_rows
from src.retrieval.track_features import average_track_features, track_numbers


@dataclass(frozen=True)
class TrackTable:
    """The tracks of a gallery.

    Attributes:
        numbers: Number of each, `(T,)`; an image without a track has its own, negative.
        features: Mean feature of each, L2-normalised, `(T, D)`.
        cameras: `(T,)`.
        first: Time of each one's first image, `(T,)`.
        last: Of its last.
        vehicles: True vehicle of each, −1 where it is unknown.
        of_image: Place of each image's track in this table, `(N,)`.
    """

    numbers: NDArray[np.int64]
    features: NDArray[np.float32]
    cameras: NDArray[np.int64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    vehicles: NDArray[np.int64]
    of_image: NDArray[np.int64]

    @classmethod
    def of(cls, table: pd.DataFrame, features: NDArray[np.float32]) -> "TrackTable":
        """The tracks of records and their features `(N, D)`."""
        tracks = table["track_id"].to_numpy(dtype=np.int64)
        places = track_numbers(tracks)
        grouped = table.groupby(places)
        numbers = np.where(tracks < 0, -1 - np.arange(len(tracks)), tracks)
        return cls(
            numbers[np.unique(places, return_index=True)[1]],
            average_track_features(torch.from_numpy(features), places).numpy(),
            grouped["camera_id"].first().to_numpy(dtype=np.int64),
            grouped["timestamp"].min().to_numpy(dtype=np.float64),
            grouped["timestamp"].max().to_numpy(dtype=np.float64),
            grouped["vehicle_id"].first().to_numpy(dtype=np.int64),
            places,
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[np.bool_]) -> "TrackTable":
        """Some of them, by mask; images of the others have place −1."""
        places = np.where(rows, np.cumsum(rows) - 1, -1)
        return TrackTable(
            self.numbers[rows],
            self.features[rows],
            self.cameras[rows],
            self.first[rows],
            self.last[rows],
            self.vehicles[rows],
            places[self.of_image],
        )


@dataclass(frozen=True)
class TravelTimes:
    """Travel times from one camera to the next.

    Attributes:
        least: Seconds (or the gallery's unit) that the way from one camera to another takes at least, by the two
            cameras' numbers, the smaller first; 0 for pairs that are not named.
    """

    least: Mapping[tuple[int, int], float]

    @classmethod
    def fit(cls, tracks: TrackTable, share: float = 0.01) -> "TravelTimes":
        """The quickest trips of known vehicles between each two cameras, but for a share of them.

        Args:
            tracks: Whose vehicles are known.
            share: Of the trips that may be quicker.
        """
        gaps: dict[tuple[int, int], list[float]] = {}
        for vehicle in np.unique(tracks.vehicles[tracks.vehicles >= 0]):
            own = np.flatnonzero(tracks.vehicles == vehicle)
            own = own[np.argsort(tracks.first[own], kind="stable")]
            for one, other in pairwise(own.tolist()):
                low, high = sorted((int(tracks.cameras[one]), int(tracks.cameras[other])))
                gaps.setdefault((low, high), []).append(float(tracks.first[other] - tracks.last[one]))
        # Of few trips the quickest may have been slow: half of it is allowed.
        return cls(
            {
                pair: max(0.0, float(np.quantile(values, share)) / (1 if len(values) >= 1 / share else 2))
                for pair, values in gaps.items()
            }
        )

    def between(self, cameras: NDArray[np.int64]) -> NDArray[np.float64]:
        """Least times `(T, T)` between tracks at these cameras `(T,)`."""
        unique, places = np.unique(cameras, return_inverse=True)
        matrix = np.zeros((len(unique), len(unique)))
        for row, one in enumerate(unique.tolist()):
            for column, other in enumerate(unique.tolist()):
                matrix[row, column] = self.least.get((min(one, other), max(one, other)), 0.0)
        return matrix[np.ix_(places, places)]


def impossible(tracks: TrackTable, travel: TravelTimes, *, same_camera: bool = True) -> NDArray[np.bool_]:
    """Mask of pairs of tracks, `(T, T)`, that cannot be one vehicle: it is at one place at a time, and takes its time.

    Args:
        tracks: The tracks.
        travel: What the ways take.
        same_camera: Whether a vehicle may come back to a camera; two tracks of one camera at a time never are one.
    """
    gap = np.maximum(tracks.first[:, None] - tracks.last[None, :], tracks.first[None, :] - tracks.last[:, None])
    # Where fields of view overlap, a least time of 0 still forbids two tracks of one camera at a time.
    here = tracks.cameras[:, None] == tracks.cameras[None, :]
    never = (gap < travel.between(tracks.cameras)) | (here & (gap <= 0))
    return never | here if not same_camera else never


def link_distances(
    tracks: TrackTable,
    *,
    trips: TripModel | None = None,
    camera_distances: pd.DataFrame | None = None,
    weight: float = 0.0,
) -> NDArray[np.float64]:
    """Distances `(T, T)`: 1 − cosine similarity, and with a weight the mean of DFR-ST's terms of time and place.

    Args:
        tracks: The tracks.
        trips: Densities of time gaps and road distances, fitted to training vehicles.
        camera_distances: Road distances, index and columns the cameras' numbers.
        weight: Of the term.
    """
    distance = 1 - tracks.features.astype(np.float64) @ tracks.features.T.astype(np.float64)
    if trips is not None and weight > 0:
        middle = (tracks.first + tracks.last) / 2
        known = trips.spatial is not None and camera_distances is not None
        rows = camera_rows(tracks.cameras, camera_distances)
        term = SpatioTemporalTerm(
            (rows, rows),
            (middle, middle),
            trips,
            None if camera_distances is None else camera_distances.to_numpy(dtype=np.float64),
            torch.device("cpu"),
            parts=("spatial", "temporal") if known else ("temporal",),
        )
        places = torch.arange(len(tracks))
        distance += weight * term.measure(places[:, None], places[None, :]).numpy() / (2 if known else 1)
    return distance


def cluster(distance: NDArray[np.float64], never: NDArray[np.bool_], threshold: float) -> NDArray[np.int64]:
    """Groups of tracks by average linkage: the two nearest groups become one as long as they are near and may.

    Two groups may become one if no two of their tracks are impossible together.

    Args:
        distance: `(T, T)`, symmetric.
        never: `(T, T)`, symmetric; which pairs may not be in one group.
        threshold: Largest mean distance of two groups that become one.

    Returns:
        Group of each track, numbered by its first track, from 0.
    """
    count = len(distance)
    sums = np.where(never, np.inf, distance)
    np.fill_diagonal(sums, np.inf)
    sizes = np.ones(count)
    group = np.arange(count)
    alive = np.ones(count, dtype=bool)
    nearest = sums.argmin(axis=1) if count else np.empty(0, dtype=np.int64)
    least = sums[np.arange(count), nearest] if count else np.empty(0)
    while count and (one := int(least.argmin())) >= 0 and least[one] <= threshold:
        other = int(nearest[one])
        one, other = min(one, other), max(one, other)
        total = sizes[one] + sizes[other]
        # Lance and Williams: the mean distance to the joined group; infinite stays so.
        row = (sizes[one] * sums[one] + sizes[other] * sums[other]) / total
        row[[one, other]] = np.inf
        sums[one], sums[:, one] = row, row
        sums[other], sums[:, other] = np.inf, np.inf
        sizes[one], alive[other] = total, False
        group[group == other] = one
        stale = np.flatnonzero(alive & (np.isin(nearest, (one, other)) | (row < least)))
        for place in {one, *stale.tolist()}:
            nearest[place] = sums[place].argmin()
            least[place] = sums[place, nearest[place]]
        least[other] = np.inf
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def trips_table(tracks: TrackTable, groups: NDArray[np.int64]) -> pd.DataFrame:
    """Trips: a line for each sighting of a vehicle that more than one track shows, in order of time.

    Args:
        tracks: The tracks.
        groups: Vehicle of each.

    Returns:
        Columns global_id, track_id, camera_id, first, last, and seconds from the end of the sighting before.
    """
    table = pd.DataFrame(
        {
            "global_id": groups,
            "track_id": tracks.numbers,
            "camera_id": tracks.cameras,
            "first": tracks.first,
            "last": tracks.last,
        }
    )
    table = table[table.groupby("global_id")["track_id"].transform("size") > 1]
    table = table.sort_values(["global_id", "first"], kind="stable").reset_index(drop=True)
    table["since"] = table["first"] - table.groupby("global_id")["last"].shift()
    return table


def choose_threshold(
    distance: NDArray[np.float64],
    never: NDArray[np.bool_],
    tracks: TrackTable,
    candidates: Sequence[float],
) -> float:
    """The threshold whose groups of tracks of known vehicles have the best pairwise F1.

    Args:
        distance: `(T, T)` of those tracks.
        never: See `cluster`.
        tracks: Those tracks.
        candidates: Thresholds to try, ascending.
    """
    return max(candidates, key=lambda threshold: pair_f1(cluster(distance, never, threshold), tracks))


def pair_f1(groups: NDArray[np.int64], tracks: TrackTable) -> float:
    """F1 of the pairs of tracks in one group against those of one vehicle; only pairs at two cameras count.

    Without that rule vehicles that come back to a camera, where they look alike, would hide those that go on.
    """
    apart = tracks.cameras[:, None] != tracks.cameras[None, :]
    together = apart & (groups[:, None] == groups[None, :])
    same = apart & (tracks.vehicles[:, None] == tracks.vehicles[None, :])
    right = (together & same).sum()
    return float(2 * right / max(together.sum() + same.sum(), 1))
