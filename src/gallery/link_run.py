"""`src.link`: tracks of a gallery that show one vehicle, and its trips over the cameras."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import DictConfig

from src.checkpoints.calibration_entry import require_calibration
from src.gallery.filters import Filters
from src.gallery.gallery import Gallery
from src.gallery.link_scores import LinkScores, link_scores
from src.gallery.links import write_links
from src.gallery.track_linking import (
    TrackTable,
    TravelTimes,
    choose_threshold,
    cluster,
    impossible,
    link_distances,
    pair_f1,
    trips_table,
)
from src.retrieval import TripModel
from src.runtime.errors import ConfigError
from src.runtime.json_files import write_json
from src.runtime.progress import working
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)

MOST = 15_000  # tracks; their distances take 2 GB
_THRESHOLDS = np.linspace(0.02, 1.0, 50).round(3).tolist()
_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4)
_TRAVEL = {"camera_a": "int64", "camera_b": "int64", "least": "float64"}


@dataclass(frozen=True)
class Linker:
    """Criteria of which tracks are one vehicle.

    Attributes:
        threshold: See `cluster`.
        weight: Of the spatio-temporal term.
        travel: What ways take.
        trips: What trips look like; None without the term.
        same_camera: Whether a vehicle may come back to a camera.
    """

    threshold: float
    weight: float
    travel: TravelTimes
    trips: TripModel | None
    same_camera: bool

    def __call__(self, tracks: TrackTable, camera_distances: pd.DataFrame | None) -> NDArray[np.int64]:
        """Group of each track."""
        distance = link_distances(tracks, trips=self.trips, camera_distances=camera_distances, weight=self.weight)
        return cluster(distance, impossible(tracks, self.travel, same_camera=self.same_camera), self.threshold)


def run(cfg: DictConfig) -> LinkScores | None:
    """Links the tracks and writes `links.csv`, `trips.csv` and `links.json` into the gallery's folder.

    Args:
        cfg: The configuration of `src.link`.

    Returns:
        The scores, where the vehicles are known.

    Raises:
        ConfigError: If an option is wrong, or cameras or times are unknown.
    """
    chosen = [key for key in ("threshold", "min_probability", "fit") if cfg[key] is not None]
    if not chosen:
        raise ConfigError(
            "Pass threshold=<largest distance of two groups that become one, such as 0.3>, min_probability=<least "
            "probability that they are one vehicle>, or fit=<index of training vehicles> that chooses the threshold."
        )
    if cfg.min_probability is not None and len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} say which groups become one; pass one of them.")
    if cfg.prior is not None and cfg.min_probability is None:
        raise ConfigError("prior is for min_probability, which is not given; pass both, or neither.")
    if cfg.weight is not None and cfg.weight > 0 and cfg.fit is None:
        raise ConfigError(
            f"weight={cfg.weight} needs fit=<index of training vehicles>, whose trips the term is fitted to."
        )
    folder = Path(cfg.index)
    gallery = Gallery.open(folder, "folder")
    tracks, everything = _tracks(gallery, cfg)
    given = None if cfg.travel is None else read_travel_times(Path(cfg.travel))
    with working(f"Linking {len(tracks):,} tracks"):
        linker = _linker(cfg, gallery, given)
        groups = linker(tracks, gallery.camera_distances)
    ids = np.empty(len(everything), dtype=np.int64)
    linked = np.isin(everything.numbers, tracks.numbers)
    ids[linked], ids[~linked] = groups + 1, groups.max(initial=-1) + 2 + np.arange((~linked).sum())
    trips = trips_table(tracks, groups + 1)
    known = len(tracks) and bool((tracks.vehicles >= 0).all())
    scores = link_scores(tracks, groups) if known else None
    named = everything.numbers >= 0
    write_links(folder, dict(zip(everything.numbers[named].tolist(), ids[named].tolist(), strict=True)))
    write_atomically(folder / "trips.csv", trips.to_csv(index=False, float_format="%.3f"))
    said: dict[str, Any] = {
        "threshold": linker.threshold,
        "weight": linker.weight,
        "tracks": len(tracks),
        "vehicles": int(groups.max(initial=-1)) + 1,
        "trips": int(trips["global_id"].nunique()),
        "scores": None if scores is None else asdict(scores),
    }
    write_json(folder / "links.json", said)
    log.info(
        "%d tracks are of %d vehicles, %d of them seen several times: %s",
        *(said["tracks"], said["vehicles"], said["trips"], folder / "trips.csv"),
    )
    if scores is not None:
        log.info("IDF1 %.3f, IDP %.3f, IDR %.3f.", scores.idf1, scores.idp, scores.idr)
    return scores


def read_travel_times(path: Path) -> TravelTimes:
    """Reads least travel times.

    Args:
        path: A CSV file with the columns camera_a, camera_b and least, in the gallery's unit of time.

    Raises:
        ConfigError: If it is missing or has other columns or values.
    """
    try:
        table = pd.read_csv(path, dtype=dict(_TRAVEL), encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"travel={path} cannot be read as a CSV file of {', '.join(_TRAVEL)} ({error}).") from error
    if sorted(table.columns) != sorted(_TRAVEL) or table.isna().any(axis=None) or (table["least"] < 0).any():
        raise ConfigError(
            f"travel={path} has the columns {', '.join(table.columns)}, expected {', '.join(_TRAVEL)}, all filled in "
            "and none negative."
        )
    pairs = zip(table["camera_a"].tolist(), table["camera_b"].tolist(), table["least"].tolist(), strict=True)
    return TravelTimes({(min(one, other), max(one, other)): least for one, other, least in pairs})


def _tracks(gallery: Gallery, cfg: DictConfig) -> tuple[TrackTable, TrackTable]:
    """The tracks that can be linked, and all."""
    everything = TrackTable.of(gallery.table, gallery.features)
    after, before = (None if cfg[name] is None else gallery.parse_time(cfg[name]) for name in ("after", "before"))
    kept = Filters(after=after, before=before).keep(gallery.table)
    inside = np.zeros(len(everything), dtype=bool)
    inside[everything.of_image[kept]] = True
    tracks = everything.take(inside & (everything.cameras >= 0) & ~np.isnan(everything.first))
    if len(tracks) == 0:
        raise ConfigError(
            f"{cfg.index} has no track whose camera and time are known, within after and before; src.crop writes both."
        )
    if len(tracks) > MOST:
        raise ConfigError(
            f"{cfg.index} has {len(tracks):,} tracks, at most {MOST:,} can be linked; pass after and before."
        )
    return tracks, everything


def _threshold(cfg: DictConfig, gallery: Gallery) -> float:
    """The largest distance at which two tracks are still one vehicle with the least probability."""
    calibration = require_calibration(gallery.meta.calibration, gallery.meta.checkpoint)
    prior = calibration.prior_of(len(gallery), cfg.prior)
    score = calibration.least_score(cfg.min_probability, prior)
    if score > 1:
        most = float(calibration.probability(1.0, prior))
        raise ConfigError(
            f"min_probability={cfg.min_probability} is never reached: for prior={prior:.2g} the checkpoint's highest "
            f"probability is {most:.3g}; pass less, or the prior that you know."
        )
    threshold = 1 - score
    log.info("min_probability=%s is threshold=%.3f, for prior=%.2g.", cfg.min_probability, threshold, prior)
    return threshold


def _linker(cfg: DictConfig, gallery: Gallery, given: TravelTimes | None) -> Linker:
    """Criteria of the configuration, and for the rest those of training vehicles.

    Half of the training vehicles say what trips look like, the other half choose thresholds, so that the thresholds are
    for trips that were not fitted to.
    """
    plain = TravelTimes({}) if given is None else given
    if cfg.fit is None:
        threshold = cfg.threshold if cfg.min_probability is None else _threshold(cfg, gallery)
        return Linker(float(threshold), 0.0, plain, None, cfg.same_camera)
    training = Gallery.open(Path(cfg.fit), "folder")
    if training.meta.checkpoint_sha != gallery.meta.checkpoint_sha:
        raise ConfigError(f"fit={cfg.fit} was embedded by another checkpoint than {cfg.index}; index it with the same.")
    seen = (
        (training.table["vehicle_id"] >= 0) & (training.table["camera_id"] >= 0) & training.table["timestamp"].notna()
    )
    vehicles = np.unique(training.table.loc[seen, "vehicle_id"])
    if len(vehicles) < 4:
        raise ConfigError(
            f"fit={cfg.fit} has {len(vehicles)} vehicles whose cameras and times are known, expected at least 4."
        )
    first = set(np.random.default_rng(0).permutation(vehicles)[: len(vehicles) // 2].tolist())
    half = training.table["vehicle_id"].isin(first).to_numpy()
    everything = TrackTable.of(training.table, training.features)
    usable = np.zeros(len(everything), dtype=bool)
    usable[everything.of_image[seen.to_numpy()]] = True
    ours = np.isin(everything.vehicles, [*first])
    travel = given or TravelTimes.fit(everything.take(usable & ours))
    trips = TripModel.fit_records(training.table[half & seen.to_numpy()], training.camera_distances)
    rest = everything.take(usable & ~ours)
    never = impossible(rest, travel, same_camera=cfg.same_camera)
    weights = _WEIGHTS if cfg.weight is None else (float(cfg.weight),)
    found = []
    for weight in weights if trips is not None else (0.0,):
        distance = link_distances(rest, trips=trips, camera_distances=training.camera_distances, weight=weight)
        candidates = _THRESHOLDS if cfg.threshold is None else [float(cfg.threshold)]
        threshold = choose_threshold(distance, never, rest, candidates)
        found.append((pair_f1(cluster(distance, never, threshold), rest), -weight, threshold))
    score, weight, threshold = max(found)
    log.info(
        "On %d training vehicles: threshold %.3f, weight %.2f (F1 of pairs %.3f).",
        *(len(vehicles) - len(first), threshold, -weight, score),
    )
    return Linker(threshold, -weight, travel, trips, cfg.same_camera)
