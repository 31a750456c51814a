"""Scores of linked tracks where the true vehicles are known."""

import importlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.gallery.track_linking import TrackTable
from src.runtime.errors import ConfigError


@dataclass(frozen=True)
class LinkScores:
    """Scores of linked tracks (Ristani et al., Performance measures for multi-target tracking, 2016).

    Attributes:
        idf1: Share of images that are of the right vehicle, when each vehicle is matched with one group of tracks so
            that most are: harmonic mean of the next two.
        idp: Of the images in groups.
        idr: Of the images of vehicles.
        vehicles: How many vehicles are seen by several cameras.
        groups: How many groups have tracks of several cameras.
    """

    idf1: float
    idp: float
    idr: float
    vehicles: int
    groups: int


def link_scores(tracks: TrackTable, groups: NDArray[np.int64]) -> LinkScores:
    """Scores groups of tracks as the AI City challenge does: of what is seen by several cameras, in images.

    Vehicles and groups of one camera are left out, for a vehicle that is seen once is no trip.

    Args:
        tracks: Whose vehicles are known.
        groups: Of each track.

    Raises:
        ConfigError: If motmetrics is not installed.
    """
    try:
        library: Any = importlib.import_module("motmetrics")
    except ImportError as error:
        raise ConfigError(
            f"The package motmetrics is needed for scores and cannot be imported ({error}); install it with "
            "pip install 'vehicle-reid[video]'."
        ) from error
    real = _at_several_cameras(tracks.vehicles, tracks.cameras)
    found = _at_several_cameras(groups, tracks.cameras)
    accumulator = library.MOTAccumulator(auto_id=True)
    for place in tracks.of_image[tracks.of_image >= 0].tolist():
        objects = [int(tracks.vehicles[place])] if real[place] else []
        guesses = [int(groups[place])] if found[place] else []
        if objects or guesses:
            accumulator.update(objects, guesses, np.zeros((len(objects), len(guesses))))
    names = ["idf1", "idp", "idr"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own use of pandas
        summary = library.metrics.create().compute(accumulator, metrics=names, name="all")
    values = {name: float(np.nan_to_num(summary[name].iloc[0])) for name in names}
    return LinkScores(**values, vehicles=len(np.unique(tracks.vehicles[real])), groups=len(np.unique(groups[found])))


def _at_several_cameras(labels: NDArray[np.int64], cameras: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each track's label is that of tracks of several cameras."""
    pairs = np.unique(np.stack([labels, cameras]), axis=1)
    several, counts = np.unique(pairs[0], return_counts=True)
    return np.isin(labels, several[counts > 1])
