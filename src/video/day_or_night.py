"""Day or night, from the sun over the camera or from how bright frames are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from src.video.packages import require

#: Mean luminance of a frame, 0 to 1, from which it is taken for day, and how far from it the answer is doubtful.
LUMINANCE, LUMINANCE_DOUBT = 0.3, 0.08
#: Degrees of the sun's elevation around the threshold in which the answer is doubtful.
SUN_DOUBT = 3.0


@dataclass(frozen=True)
class Place:
    """Place of a camera.

    Attributes:
        latitude: Degrees, north positive.
        longitude: Degrees, east positive.
    """

    latitude: float
    longitude: float


@dataclass(frozen=True)
class Judged:
    """Day or night of some crops.

    Attributes:
        domains: `"day"` or `"night"`, one a crop.
        doubtful: Share of the crops whose value is near the threshold.
    """

    domains: list[str]
    doubtful: float


def sun_elevation(place: Place, time: float) -> float:
    """Degrees of the sun above the horizon, with refraction.

    Args:
        place: Of the camera.
        time: Seconds since 1970, UTC.
    """
    require("astral", "domain=auto with a place")
    from astral import Observer
    from astral.sun import elevation

    return float(elevation(Observer(place.latitude, place.longitude), datetime.fromtimestamp(time, UTC)))


def by_sun(place: Place, times: Sequence[float], dusk: float) -> Judged:
    """Day where the sun stands at least `dusk` degrees high.

    Args:
        place: Of the camera.
        times: Seconds since 1970, one a crop.
        dusk: Degrees; negative below the horizon.
    """
    return _judged(np.array([sun_elevation(place, time) for time in times]), dusk, SUN_DOUBT)


def by_luminance(luminances: Sequence[float]) -> Judged:
    """Day where the frame is bright on average.

    Args:
        luminances: Mean luminance of each crop's frame, 0 to 1.
    """
    return _judged(np.array(luminances, dtype=np.float64), LUMINANCE, LUMINANCE_DOUBT)


def frame_luminance(image: NDArray[np.uint8]) -> float:
    """Mean luminance (ITU-R BT.601) of an RGB image, 0 to 1."""
    return float(image[::4, ::4].reshape(-1, 3).mean(axis=0) @ [0.299, 0.587, 0.114]) / 255


def _judged(values: NDArray[np.float64], threshold: float, doubt: float) -> Judged:
    domains = np.where(values >= threshold, "day", "night").tolist()
    doubtful = np.abs(values - threshold) < doubt
    return Judged(domains, float(doubtful.mean()) if len(values) else 0.0)
