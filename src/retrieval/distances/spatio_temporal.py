"""The spatio-temporal term of DFR-ST: how plausible a trip is that would explain two sightings as one vehicle."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from src.retrieval.distances.terms import Term

Density = Literal["mode", "raw"]
AtZero = Literal["vanish", "peak"]
Part = Literal["spatial", "temporal"]


@dataclass(frozen=True)
class LogNormal:
    """A log-normal density, fitted by maximum likelihood.

    Attributes:
        mu: Mean of the logarithm.
        sigma: Standard deviation of the logarithm.
    """

    mu: float
    sigma: float

    @classmethod
    def fit(cls, values: ArrayLike) -> "LogNormal":
        """Fits positive values; zeros, whose logarithm does not exist, are left out.

        Raises:
            ValueError: If fewer than two different positive values are left.
        """
        numbers = np.asarray(values, dtype=np.float64)
        logarithms = np.log(numbers[numbers > 0])
        if len(logarithms) < 2 or logarithms.std() == 0:
            raise ValueError(
                f"A log-normal density cannot be fitted to {len(logarithms)} positive values of {len(numbers)}, "
                "expected at least two different ones."
            )
        return cls(float(logarithms.mean()), float(logarithms.std()))

    def density(self, values: Tensor, kind: Density, at_zero: AtZero = "vanish") -> Tensor:
        """The density at non-negative values.

        Args:
            values: Any shape.
            kind: `"mode"` divides by the maximum, `"raw"` does not.
            at_zero: The density at 0: `"vanish"` is its limit, 0; `"peak"` takes its maximum.
        """
        logarithm = values.log()
        # The mode lies at exp(μ − σ²).
        relative = (logarithm - self.mu).square_().mul_(-0.5 / self.sigma**2).sub_(logarithm)
        relative = relative.add_(self.mu - self.sigma**2 / 2).exp_()
        relative = relative.masked_fill_(values == 0, float(at_zero == "peak"))
        return relative if kind == "mode" else relative.mul_(self.peak)

    @property
    def peak(self) -> float:
        """The largest value of the density."""
        return math.exp(self.sigma**2 / 2 - self.mu) / (self.sigma * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class TripModel:
    """Trips in training: road distance between two cameras and time between two sightings of a vehicle.

    Attributes:
        spatial: Density of the distances; None if the cameras' distances are unknown.
        temporal: Density of the time gaps.
    """

    spatial: LogNormal | None
    temporal: LogNormal

    @classmethod
    def fit_records(cls, records: pd.DataFrame, camera_distances: pd.DataFrame | None = None) -> "TripModel | None":
        """Fits the images whose vehicle, camera and time are known; None if they make too few trips.

        Args:
            records: Training images, with the columns vehicle_id, camera_id and timestamp.
            camera_distances: Road distances, index and columns the cameras' numbers.
        """
        seen = (records["vehicle_id"] >= 0) & (records["camera_id"] >= 0) & records["timestamp"].notna()
        train = records[seen.to_numpy()]
        roads = None if camera_distances is None else camera_distances.to_numpy(dtype=np.float64)
        cameras = camera_rows(train["camera_id"], camera_distances)
        if (cameras < 0).any():
            return None
        try:
            return cls.fit(train["vehicle_id"], cameras, train["timestamp"], roads)
        except ValueError:
            return None

    @classmethod
    def fit(
        cls,
        ids: ArrayLike,
        cameras: ArrayLike,
        times: ArrayLike,
        camera_distances: NDArray[np.floating] | None = None,
    ) -> "TripModel":
        """Fits all pairs of training images of one vehicle in different cameras.

        Args:
            ids: Vehicle of each training image, `(N,)`.
            cameras: Camera of each, as a row of `camera_distances`.
            times: Time of each.
            camera_distances: Road distances `(C, C)` between the cameras.

        Raises:
            ValueError: If there are too few such pairs.
        """
        gaps, distances = trips(ids, cameras, times, camera_distances)
        return cls(None if distances is None else LogNormal.fit(distances), LogNormal.fit(gaps))


def camera_rows(cameras: ArrayLike, camera_distances: pd.DataFrame | None) -> NDArray[np.int64]:
    """Rows of cameras in the matrix of road distances, −1 if not in it; without a matrix, the cameras' numbers."""
    numbers = np.asarray(cameras, dtype=np.int64)
    if camera_distances is None:
        return numbers
    return camera_distances.index.get_indexer(pd.Index(numbers)).astype(np.int64)


def trips(
    ids: ArrayLike, cameras: ArrayLike, times: ArrayLike, camera_distances: NDArray[np.floating] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Time gaps and road distances of all pairs of images of one vehicle in different cameras; see `TripModel.fit`."""
    vehicle, camera = np.asarray(ids, dtype=np.int64), np.asarray(cameras, dtype=np.int64)
    time = np.asarray(times, dtype=np.float64)
    order = np.argsort(vehicle, kind="stable")
    starts = np.flatnonzero(np.diff(vehicle[order], prepend=vehicle[order][:1] - 1))
    gaps, distances = [np.empty(0)], [np.empty(0)]
    for sightings in np.split(order, starts[1:]):
        one, other = np.triu_indices(len(sightings), 1)
        one, other = sightings[one], sightings[other]
        apart = camera[one] != camera[other]
        one, other = one[apart], other[apart]
        gaps.append(np.abs(time[one] - time[other]))
        if camera_distances is not None:
            distances.append(camera_distances[camera[one], camera[other]])
    return np.concatenate(gaps), None if camera_distances is None else np.concatenate(distances)


@dataclass(frozen=True)
class Falling:
    """The falling curve of Eqs. 4 and 5 of DFR-ST: `1 / (1 + exp(slope · (x − shift)))` of a density x.

    The defaults are what Fig. 9 draws. The text's "α1, α2 = 6 and β1, β2 = 0.5", put into the printed equations, are
    slope and shift 6 of D_s, slope and shift 0.5 of D_t.
    """

    slope: float = 6
    shift: float = 0.5

    def __call__(self, density: Tensor) -> Tensor:
        """The curve at densities of any shape, which are overwritten."""
        return density.sub_(self.shift).mul_(-self.slope).sigmoid_()


class SpatioTemporalTerm(Term):
    """`D_s + D_t` of DFR-ST (Eqs. 4 and 5): each a falling curve of a trip's density x.

    x is the fitted density divided by its maximum, so that it lies in 0…1 whatever the unit. At 0, two sightings at one
    place or time, a log-normal density vanishes: no trip leads from a camera to itself.

    Args:
        cameras: Camera of each row and of each column, as rows of `camera_distances`.
        times: Time of each row and of each column.
        model: The fitted densities.
        camera_distances: Road distances `(C, C)`; without them, or without `"spatial"` in `parts`, D_s is left out.
        device: Where the blocks shall lie.
        spatial: The curve of D_s.
        temporal: The curve of D_t.
        density: `"mode"` divides by the maximum, `"raw"` takes the density as it is, in the data's own unit.
        at_zero: `"vanish"`, or `"peak"` for the largest plausibility at one place or time.
        parts: Which of the two terms to add.

    Raises:
        ValueError: If no part is left or a name is unknown.
    """

    def __init__(
        self,
        cameras: tuple[ArrayLike, ArrayLike],
        times: tuple[ArrayLike, ArrayLike],
        model: TripModel,
        camera_distances: NDArray[np.floating] | None,
        device: torch.device,
        *,
        spatial: Falling = Falling(),
        temporal: Falling = Falling(),
        density: Density = "mode",
        at_zero: AtZero = "vanish",
        parts: tuple[Part, ...] = ("spatial", "temporal"),
    ) -> None:
        if density not in get_args(Density):
            raise ValueError(f"density is {density!r}, expected one of {', '.join(get_args(Density))}.")
        if at_zero not in get_args(AtZero):
            raise ValueError(f"at_zero is {at_zero!r}, expected one of {', '.join(get_args(AtZero))}.")
        if not parts or not set(parts) <= set(get_args(Part)):
            raise ValueError(f"parts is {list(parts)}, expected one or both of {', '.join(get_args(Part))}.")
        if "spatial" in parts and (camera_distances is None or model.spatial is None):
            raise ValueError(
                "The spatial term needs the road distances between the cameras, which this data set does not give; "
                "pass parts=[temporal]."
            )
        self._falling = temporal
        self._density, self._at_zero = density, at_zero
        self._model = model
        self._cameras = tuple(torch.tensor(np.asarray(side), device=device) for side in cameras)
        self._times = tuple(torch.tensor(np.asarray(side, dtype=np.float64), device=device) for side in times)
        self._temporal = "temporal" in parts
        self._spatial: Tensor | None = None  # D_s of each pair of cameras
        if "spatial" in parts and camera_distances is not None and model.spatial is not None:
            roads = torch.tensor(np.asarray(camera_distances, dtype=np.float64), device=device)
            self._spatial = spatial(model.spatial.density(roads, density, at_zero)).float()
        super().__init__(len(self._times[0]), len(self._times[1]), device)

    def measure(self, rows: Tensor, columns: Tensor) -> Tensor:
        """See `Term`."""
        total = torch.zeros((), device=self.device)
        if self._temporal:
            gaps = (self._times[0][rows] - self._times[1][columns]).abs_().float()
            total = self._falling(self._model.temporal.density(gaps, self._density, self._at_zero))
        if self._spatial is not None:
            total = total + self._spatial[self._cameras[0][rows], self._cameras[1][columns]]
        return total
