"""Retrieval tasks over a record table: the only place that knows the rules of evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data.table import DataError, known

Ignore = Literal["none", "same_camera", "same_image"]
GalleryUnit = Literal["image", "track"]
AveragePrecision = Literal["standard", "trapezoid"]


@dataclass(frozen=True)
class Protocol:
    """The rules behind a number; printed and stored with it.

    Attributes:
        name: The task's name.
        direction: What is searched in what.
        ignore: Gallery entries that do not count for a query: none, those of its vehicle and camera, or its own image.
        gallery_unit: Rank single images or whole tracks.
        ap: Standard average precision, or the area under the precision-recall curve by trapezoids, which is lower.
        track_distance: A track is as far as its nearest image.
    """

    name: str
    direction: str
    ignore: Ignore
    gallery_unit: GalleryUnit = "image"
    ap: AveragePrecision = "standard"
    track_distance: Literal["min"] = "min"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `metrics.json`; the track distance only where there are tracks."""
        rules = asdict(self)
        if self.gallery_unit == "image":
            del rules["track_distance"]
        return rules


@dataclass(frozen=True)
class Trial:
    """One drawing of queries and gallery: row numbers in the table, ascending int64.

    Attributes:
        query: `(Q,)`.
        gallery: `(G,)`.
    """

    query: NDArray[np.int64]
    gallery: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A retrieval task: its rules and its trials (one, unless a data set's protocol draws the gallery at random)."""

    name: str
    protocol: Protocol
    trials: tuple[Trial, ...]


def build_tasks(table: pd.DataFrame, names: Sequence[str], ap: AveragePrecision = "standard") -> list[Task]:
    """Builds retrieval tasks.

    Args:
        table: The record table.
        names: Names in `TASKS`.
        ap: Kind of average precision.

    Returns:
        The tasks in the order of `names`.

    Raises:
        DataError: If a name or `ap` is unknown, or the table cannot give a task what it needs.
    """
    if ap not in get_args(AveragePrecision):
        raise DataError(f"data.ap is {ap!r}, expected one of {', '.join(get_args(AveragePrecision))}.")
    for name in names:
        if name not in TASKS:
            raise DataError(f"data.tasks names {name!r}, expected some of {', '.join(TASKS)}.")
    return [TASKS[name](table, name, ap) for name in names]


def _across_domains(table: pd.DataFrame, name: str, ap: AveragePrecision) -> Task:
    """DN-348 and DN-Wild: there are no cameras to ignore; within one domain a query must not find itself."""
    query_domain, _, gallery_domain = name.split("_")
    if not known(table, "domain").any():
        raise DataError(
            f"Task {name!r} needs a domain (day or night) for each image, and data set {_dataset(table)!r} has none; "
            "choose other data.tasks."
        )
    domain = table["domain"].to_numpy()
    trial = _trial(table, name, domain == query_domain, domain == gallery_domain)
    direction = f"{query_domain} query → {gallery_domain} gallery"
    ignore: Ignore = "same_image" if query_domain == gallery_domain else "none"
    return Task(name, Protocol(name, direction, ignore, ap=ap), (trial,))


def _image_to_image(table: pd.DataFrame, name: str, ap: AveragePrecision) -> Task:
    """VeRi-776 as nearly all papers evaluate it. Without cameras only the query's own image is ignored."""
    everything = np.ones(len(table), dtype=bool)
    trial = _trial(table, name, everything, everything)
    has_camera = known(table, "camera_id")[np.union1d(trial.query, trial.gallery)]
    if has_camera.any() and not has_camera.all():
        raise DataError(
            f"Task {name!r} ignores images of the query's camera, but {int((~has_camera).sum())} of {len(has_camera)} "
            f"test images of data set {_dataset(table)!r} have no camera; give all of them one, or none."
        )
    ignore: Ignore = "same_camera" if has_camera.all() else "same_image"
    return Task(name, Protocol(name, "image query → image gallery", ignore, ap=ap), (trial,))


def _image_to_track(table: pd.DataFrame, name: str, ap: AveragePrecision) -> Task:
    """VeRi-776 as its authors evaluate it: tracks of the query's vehicle and camera are ignored."""
    everything = np.ones(len(table), dtype=bool)
    trial = _trial(table, name, everything, everything)
    for column, rows in (("track_id", trial.gallery), ("camera_id", np.union1d(trial.query, trial.gallery))):
        if missing := int((~known(table, column)[rows]).sum()):
            raise DataError(
                f"Task {name!r} needs a {column} for each test image, and {missing} of {len(rows)} of data set "
                f"{_dataset(table)!r} have none; add them or choose other data.tasks."
            )
    protocol = Protocol(name, "image query → track gallery", "same_camera", gallery_unit="track", ap=ap)
    return Task(name, protocol, (trial,))


#: Task name → what builds it from a table. A new data set with rules of its own adds its function here.
TASKS: dict[str, Callable[[pd.DataFrame, str, AveragePrecision], Task]] = {
    "day_to_night": _across_domains,
    "night_to_day": _across_domains,
    "day_to_day": _across_domains,
    "night_to_night": _across_domains,
    "image_to_image": _image_to_image,
    "image_to_track": _image_to_track,
}


def _trial(table: pd.DataFrame, name: str, as_query: NDArray[np.bool_], as_gallery: NDArray[np.bool_]) -> Trial:
    """The test images among those allowed on each side."""
    sides = []
    for side, allowed in (("query", as_query), ("gallery", as_gallery)):
        rows = np.flatnonzero(allowed & table["split"].isin([side, "test"]).to_numpy())
        if len(rows) == 0:
            raise DataError(
                f"Task {name!r} has no {side} images in data set {_dataset(table)!r}; choose other data.tasks."
            )
        sides.append(rows.astype(np.int64))
    query, gallery = sides
    if nobody := int((~known(table, "vehicle_id")[query]).sum()):
        raise DataError(
            f"Task {name!r}: {nobody} of {len(query)} queries of data set {_dataset(table)!r} show an unknown "
            "vehicle (vehicle_id −1); only gallery images may."
        )
    return Trial(query, gallery)


def _dataset(table: pd.DataFrame) -> str:
    return ", ".join(table["dataset"].unique())
