"""Retrieval tasks over a record table: the only place that knows the rules of evaluation."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data.one_image import draw_one_image
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
        trials: How many times queries and gallery are drawn; every number is the mean over the trials.
        seed: Of the draws, not of the run, so that runs compare; None if nothing is drawn.
    """

    name: str
    direction: str
    ignore: Ignore
    gallery_unit: GalleryUnit = "image"
    ap: AveragePrecision = "standard"
    track_distance: Literal["min"] = "min"
    trials: int = 1
    seed: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `metrics.json`; track distance, trials and seed only where there are tracks or draws."""
        rules = asdict(self)
        if self.gallery_unit == "image":
            del rules["track_distance"]
        if self.seed is None:
            del rules["trials"], rules["seed"]
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
    """A retrieval task: its rules and its trials (one, unless a protocol draws queries and gallery at random)."""

    name: str
    protocol: Protocol
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Rules:
    """Options of `build_tasks` for all tasks."""

    ap: AveragePrecision
    trials: int
    seed: int


def build_tasks(
    table: pd.DataFrame,
    names: Sequence[str],
    ap: AveragePrecision = "standard",
    trials: int = 10,
    seed: int = 0,
) -> list[Task]:
    """Builds retrieval tasks.

    Args:
        table: The record table.
        names: Names in `TASKS`.
        ap: Kind of average precision.
        trials: Number of draws, for tasks that draw.
        seed: Of the draws; leave it alone to compare with other numbers.

    Returns:
        The tasks in the order of `names`.

    Raises:
        DataError: If a name or `ap` is unknown, `trials` is below 1, or the table cannot give a task what it needs.
    """
    if ap not in get_args(AveragePrecision):
        raise DataError(f"data.ap is {ap!r}, expected one of {', '.join(get_args(AveragePrecision))}.")
    if trials < 1:
        raise DataError(f"The number of trials is {trials}, expected at least 1.")
    tasks = [build(table, name, Rules(ap, trials, seed)) for name, build in [(name, _builder(name)) for name in names]]
    for task in tasks:
        _refuse_unanswerable(table, task)
    return tasks


def answerable(table: pd.DataFrame, trial: Trial, ignore: Ignore) -> NDArray[np.bool_]:
    """Whether each query has anything to find: a gallery image of its vehicle that does not count as ignored.

    Args:
        table: The record table.
        trial: Queries and gallery.
        ignore: The rule.

    Returns:
        `(Q,)`. A data set without any such query cannot be measured, which `build_tasks` refuses.
    """
    vehicles = pd.MultiIndex.from_frame(table[["dataset", "vehicle_id"]])
    codes = pd.factorize(vehicles)[0]
    counted = pd.DataFrame({"vehicle": codes[trial.gallery], "camera": table["camera_id"].to_numpy()[trial.gallery]})
    own = pd.DataFrame({"vehicle": codes[trial.query], "camera": table["camera_id"].to_numpy()[trial.query]})
    there = counted["vehicle"].value_counts().reindex(own["vehicle"], fill_value=0).to_numpy()
    if ignore == "same_camera":
        pairs = counted.value_counts(["vehicle", "camera"])
        ignored = pairs.reindex(pd.MultiIndex.from_frame(own), fill_value=0).to_numpy()
    elif ignore == "same_image":
        ignored = np.isin(trial.query, trial.gallery).astype(np.int64)
    else:
        ignored = np.zeros(len(own), dtype=np.int64)
    return there > ignored


def _across_domains(table: pd.DataFrame, name: str, rules: Rules) -> Task:
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
    return Task(name, Protocol(name, direction, ignore, ap=rules.ap), (trial,))


def _across_cameras(table: pd.DataFrame, name: str, rules: Rules) -> Task:
    """From one camera to another: nothing to ignore, and nothing of the query's own camera to be taken for it."""
    cameras = [int(number) for number in re.findall(r"\d+", name)]
    seen = sorted(table.loc[known(table, "camera_id") & (table["split"] != "train"), "camera_id"].unique())
    if missing := [camera for camera in cameras if camera not in seen]:
        shown = f"are of the cameras {', '.join(map(str, seen))}" if seen else "have no camera"
        raise DataError(
            f"Task {name!r} needs test images of camera {missing[0]}, and those of data set {_dataset(table)!r} "
            f"{shown}; choose other data.tasks."
        )
    query, gallery = ((table["camera_id"] == camera).to_numpy() for camera in cameras)
    direction = f"query of camera {cameras[0]} → gallery of camera {cameras[1]}"
    return Task(name, Protocol(name, direction, "none", ap=rules.ap), (_trial(table, name, query, gallery),))


def _image_to_image(table: pd.DataFrame, name: str, rules: Rules) -> Task:
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
    return Task(name, Protocol(name, "image query → image gallery", ignore, ap=rules.ap), (trial,))


def _image_to_track(table: pd.DataFrame, name: str, rules: Rules) -> Task:
    """VeRi-776 as its authors evaluate it: tracks of the query's vehicle and camera are ignored."""
    everything = np.ones(len(table), dtype=bool)
    trial = _trial(table, name, everything, everything)
    for column, rows in (("track_id", trial.gallery), ("camera_id", np.union1d(trial.query, trial.gallery))):
        if missing := int((~known(table, column)[rows]).sum()):
            raise DataError(
                f"Task {name!r} needs a {column} for each test image, and {missing} of {len(rows)} of data set "
                f"{_dataset(table)!r} have none; add them or choose other data.tasks."
            )
    protocol = Protocol(name, "image query → track gallery", "same_camera", gallery_unit="track", ap=rules.ap)
    return Task(name, protocol, (trial,))


def _one_image(table: pd.DataFrame, name: str, rules: Rules) -> Task:
    """VehicleID: one image of each vehicle, drawn at random, is the gallery, and the others are searched in it.

    Some code searches with the drawn images in the others instead, which gives very different numbers.
    """
    rows = np.flatnonzero((table["split"] == "test").to_numpy()).astype(np.int64)
    if not table["vehicle_id"].iloc[rows].duplicated().any():
        raise DataError(
            f"Task {name!r} draws one of several test images of each vehicle, and data set {_dataset(table)!r} has "
            f"{len(rows)} images with split 'test', no two of one vehicle; choose other data.tasks."
        )
    _refuse_unknown(table, name, rows)
    query, gallery = "all other images", "one random image of each vehicle"
    if name == "one_query_image":
        query, gallery = gallery, query
    trials = []
    for number in range(rules.trials):
        drawn = draw_one_image(table, rows, number, rules.seed)
        sides = rows[~drawn], rows[drawn]
        trials.append(Trial(*(sides if name == "one_gallery_image" else sides[::-1])))
    protocol = Protocol(
        name, f"{query} (query) → {gallery} (gallery)", "none", ap=rules.ap, trials=rules.trials, seed=rules.seed
    )
    return Task(name, protocol, tuple(trials))


#: Task name → what builds it from a table. A new data set with rules of its own adds its function here.
TASKS: dict[str, Callable[[pd.DataFrame, str, Rules], Task]] = {
    "day_to_night": _across_domains,
    "night_to_day": _across_domains,
    "day_to_day": _across_domains,
    "night_to_night": _across_domains,
    "image_to_image": _image_to_image,
    "image_to_track": _image_to_track,
    "one_gallery_image": _one_image,
    "one_query_image": _one_image,
}


def _builder(name: str) -> Callable[[pd.DataFrame, str, Rules], Task]:
    if re.fullmatch(r"camera_\d+_to_camera_\d+", name):
        return _across_cameras
    if name not in TASKS:
        expected = ", ".join([*TASKS, "camera_<number>_to_camera_<number>"])
        raise DataError(f"data.tasks names {name!r}, expected some of {expected}.")
    return TASKS[name]


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
    _refuse_unknown(table, name, query)
    return Trial(query, gallery)


def _refuse_unanswerable(table: pd.DataFrame, task: Task) -> None:
    """Refuses a task whose every number would be NaN."""
    trial, ignore = task.trials[0], task.protocol.ignore
    if answerable(table, trial, ignore).any():
        return
    queries = f"the {len(trial.query)} queries of data set {_dataset(table)!r}"
    if not answerable(table, trial, "none").any():
        raise DataError(
            f"Task {task.name!r}: no vehicle of {queries} is in the gallery, so there is nothing to find; number "
            "vehicles alike in both, or choose other data.tasks."
        )
    why = (
        "every gallery image of its vehicle is from its own camera (camera_id); add images of the same vehicles from "
        "other cameras, or leave camera_id empty to ignore only the query itself"
        if ignore == "same_camera"
        else "its vehicle has no image but the query itself; add images of the same vehicles"
    )
    raise DataError(
        f"Task {task.name!r}: the rule {ignore} leaves none of {queries} anything to find, as {why}, or choose other "
        "data.tasks."
    )


def _refuse_unknown(table: pd.DataFrame, name: str, query: NDArray[np.int64]) -> None:
    if nobody := int((~known(table, "vehicle_id")[query]).sum()):
        raise DataError(
            f"Task {name!r}: {nobody} of {len(query)} queries of data set {_dataset(table)!r} show an unknown "
            "vehicle (vehicle_id −1); only gallery images may. CityFlow's test vehicles are hidden: take "
            "data=cityflow_holdout for numbers, or write_submission for the challenge's server."
        )


def _dataset(table: pd.DataFrame) -> str:
    return ", ".join(table["dataset"].unique())
