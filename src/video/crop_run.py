"""`src.crop`: from videos to a folder of crops that can be indexed."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from src.data import read_image
from src.figures.contact_sheet import TrackOnSheet, draw_contact_sheet
from src.runtime.errors import ConfigError
from src.runtime.progress import Progress, working
from src.runtime.provenance import file_sha
from src.video import cropping
from src.video.crop_processes import crop_videos
from src.video.crop_table import CroppedVideo, read_videos, write_table, write_tables
from src.video.cropping import CropOptions
from src.video.decode import Every, VideoError
from src.video.detectors import DetectorChoice
from src.video.joining import join_tracklets
from src.video.sources import Source, check_sources, one_source, read_sources
from src.video.tracklets import TRACKERS

log = logging.getLogger(__name__)

_DOMAINS = ("auto", "day", "night")
_PAUSE = 10.0  # seconds between two versions of table.csv while videos are cropped


def run(cfg: DictConfig) -> pd.DataFrame:
    """Crops the videos, as far as they are not cropped yet, and writes table, meta data and contact sheets.

    Args:
        cfg: The configuration of `src.crop`.

    Returns:
        The table.

    Raises:
        ConfigError: If an option is wrong.
        VideoError: If a video cannot be cropped, once the others are.
    """
    options = _options(cfg)
    sources = _sources(cfg)
    check_sources(sources)
    choice = DetectorChoice(
        str(cfg.detector), cfg.weights, None if cfg.names is None else tuple(cfg.names), str(cfg.device)
    )
    out, made_by = Path(cfg.out), _made_by(cfg, options)
    videos = read_videos(out, sources, made_by)
    embedder = _embedder(cfg)  # before the work, not after it
    domains: dict[str, Any] = {"domain": cfg.domain, "dusk": float(cfg.dusk)}
    waiting = [video.source for video in videos if video.source in sources and not video.whole]
    if len(waiting) < len(sources):
        log.info("%d of %d videos are cropped already.", len(sources) - len(waiting), len(sources))
    write_tables(out, videos, made_by, **domains)  # says whose folder this is, from the beginning
    processes = min(os.cpu_count() or 1, len(waiting)) if cfg.processes is None else int(cfg.processes)
    written = time.monotonic()
    with Progress() as shown:
        works = {source.name: shown.begin(source.name, unit="s", rate=False) for source in waiting}
        watches = {source.name: _Watch() for source in waiting}

        def report(source: Source, progress: cropping.Progress) -> None:
            nonlocal written
            speed = watches[source.name].speed(progress.frames)
            works[source.name].reach(progress.seconds, progress.duration, speed)
            if progress.crops is not None:
                video = next(video for video in videos if video.source.name == source.name)
                video.crops += progress.crops
                video.seconds = progress.seconds
                if time.monotonic() - written > _PAUSE:
                    write_tables(out, videos, made_by, **domains)
                    written = time.monotonic()

        failed = crop_videos(waiting, choice, options, out, processes, report) if waiting else {}
    for video in videos:
        video.reread(out)
    table = write_tables(out, videos, made_by, **domains)
    if embedder is not None and len(table):
        table = _joined(table, out, embedder, float(cfg.join_gap), float(cfg.join_score))
    _tell(videos, cfg.domain)
    _draw(out, table)
    log.info("%d crops of %d tracks: %s", len(table), table["track_id"].nunique(), out / "table.csv")
    for path, error in failed.items():
        log.error("%s: %s", path, error)
    if failed:
        first = next(iter(failed.values()))
        more = (
            f" ({len(failed)} of {len(waiting)} videos failed; those above, the others are cropped)"
            if len(sources) > 1
            else ""
        )
        raise VideoError(f"{first}{more}")
    return table


def _options(cfg: DictConfig) -> CropOptions:
    for name, least in (
        ("score", 0.0),
        ("min_side", 1.0),
        ("lost", 0.0),
        ("k", 1),
        ("segment", 1.0),
        ("batch_size", 1),
    ):
        if cfg[name] < least:
            raise ConfigError(f"{name} is {cfg[name]}, expected at least {least:g}.")
    if cfg.score > 1:
        raise ConfigError(f"score is {cfg.score}, expected 0 to 1.")
    if cfg.tracker not in TRACKERS:
        raise ConfigError(f"tracker is {cfg.tracker!r}, expected {' or '.join(TRACKERS)}.")
    if cfg.domain is not None and cfg.domain not in _DOMAINS:
        raise ConfigError(f"domain is {cfg.domain!r}, expected {', '.join(_DOMAINS)}, or null to leave it unknown.")
    if cfg.processes is not None and cfg.processes < 1:
        raise ConfigError(f"processes is {cfg.processes}, expected at least 1, or null for one a core.")
    return CropOptions(
        classes=tuple(cfg.classes),
        score=float(cfg.score),
        min_side=float(cfg.min_side),
        every=Every.parse(cfg.every),
        tracker=cfg.tracker,
        lost=float(cfg.lost),
        k=int(cfg.k),
        segment=float(cfg.segment),
        batch_size=int(cfg.batch_size),
    )


def _sources(cfg: DictConfig) -> list[Source]:
    if (cfg.video is None) == (cfg.videos is None):
        raise ConfigError(
            "Pass video=<a file> camera=<number> start=<date and time>, or videos=<a CSV file>, one of them."
        )
    if cfg.videos is not None:
        return read_sources(Path(cfg.videos))
    if cfg.start is None:
        raise ConfigError(
            "start is missing; pass the date and time of the first frame, such as start=2026-11-21T08:00:00+07:00."
        )
    plain: Any = OmegaConf.to_container(cfg)
    return [one_source(str(cfg.video), cfg.camera, cfg.start, plain["place"], plain["region"])]


def _made_by(cfg: DictConfig, options: CropOptions) -> dict[str, Any]:
    """Options that the crops depend on."""
    files = {name: Path(path) for name, path in (("detector", cfg.detector), ("weights", cfg.weights)) if path}
    hashed = {name: file_sha(path)[:16] if path.is_file() else str(path) for name, path in files.items()}
    every = f"{options.every.frames}f" if options.every.frames > 1 else options.every.seconds
    plain = {name: getattr(options, name) for name in ("score", "min_side", "tracker", "lost", "k", "segment")}
    names = None if cfg.names is None else [*cfg.names]
    return {"weights": None} | hashed | {"names": names, "classes": [*options.classes], "every": every} | plain


def _embedder(cfg: DictConfig) -> Any:
    if cfg.checkpoint is None:
        return None
    from src.embed import Embedder

    return Embedder(cfg.checkpoint, device=str(cfg.device), engine=cfg.engine)


def _joined(table: pd.DataFrame, out: Path, embedder: Any, gap: float, score: float) -> pd.DataFrame:
    paths = [out / path for path in table["path"]]
    with working(f"Embedding {len(paths):,} crops"):
        embedded = embedder(paths, table["domain"].tolist())
    joined = join_tracklets(table, embedded, gap=gap, score=score)
    count = sum(track != first for track, first in joined.items())
    log.info("%d of %d tracks go on an earlier one of their camera.", count, len(joined))
    table = table.assign(track_id=table["track_id"].map(joined))
    write_table(out, table)
    return table


class _Watch:
    """Frames a second of one video."""

    def __init__(self) -> None:
        self._start, self._frames = time.monotonic(), 0

    def speed(self, frames: int) -> str:
        self._frames += frames
        return f"{self._frames / max(time.monotonic() - self._start, 1e-3):.1f} frames/s"


def _tell(videos: Sequence[CroppedVideo], domain: str | None) -> None:
    for video in videos:
        name = video.source.video.name
        if video.problem:
            log.warning("%s: %s; what came before is cropped.", name, video.problem)
        if video.corrupt:
            log.warning("%s: %d damaged frames are left out.", name, video.corrupt)
        if video.doubtful is not None and domain == "auto":
            how = "luminance" if video.source.place is None else "the sun's elevation"
            log.info("%s: day or night by %s, %.0f %% of the tracks are doubtful.", name, how, 100 * video.doubtful)
        if video.done and not video.crops:
            log.warning("%s: no vehicle was found; look at score, min_side, classes and region, or the detector.", name)


def _draw(out: Path, table: pd.DataFrame) -> None:
    for camera, own in table.groupby("camera_id"):
        tracks = [
            TrackOnSheet(
                f"{part['time'].iloc[0][11:19]} – {part['time'].iloc[-1][11:19]}  {part['type'].iloc[0]}",
                part.index.tolist(),
            )
            for _, part in own.sort_values("timestamp").groupby("track_id", sort=False)
        ]
        draw_contact_sheet(
            tracks,
            lambda row: read_image(out / str(table.loc[row, "path"])),
            f"Camera {camera}",
            out / f"camera{camera}.jpg",
        )
