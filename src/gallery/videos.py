"""The videos that a gallery's images were cropped from, where the gallery says so."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from src.gallery.gallery_meta import GalleryMeta
from src.retrieval.embeddings import META_FILE
from src.runtime.errors import ConfigError

_SLACK = 1.0  # seconds that a time may lie outside a video, for rounding


@dataclass(frozen=True)
class GalleryVideo:
    """A video of a gallery.

    Attributes:
        number: Its own.
        path: The file, which may be gone.
        camera: Number of the camera.
        start: When it starts, seconds since 1970.
        seconds: How long it is.
    """

    number: int
    path: Path
    camera: int
    start: float
    seconds: float


def with_videos(meta: GalleryMeta, images: Path) -> GalleryMeta:
    """A record with the videos, and for want of another with the time unit, that `src.crop` names beside its crops.

    Args:
        meta: The record.
        images: A table of crops; beside any other file there are no videos.
    """
    file = images.parent / META_FILE
    if not images.is_file() or not file.is_file():
        return meta
    crops = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(crops, dict) or "videos" not in crops:
        return meta
    return replace(meta, videos=tuple(crops["videos"]), time_unit=meta.time_unit or crops["time_unit"])


def with_more_videos(meta: GalleryMeta, images: Path) -> GalleryMeta:
    """A record with the videos of further crops, which get numbers of their own where theirs are taken.

    Args:
        meta: The record of a gallery.
        images: See `with_videos`.

    Raises:
        ConfigError: If the gallery counts time otherwise.
    """
    more = with_videos(GalleryMeta(), images)
    if more.time_unit and meta.time_unit and more.time_unit != meta.time_unit:
        raise ConfigError(f"{images} counts time in {more.time_unit}, the gallery in {meta.time_unit}; index it apart.")
    videos = {said["video"]: said for said in meta.videos}
    for said in more.videos:
        number = videos.get(said["video"], said)["number"]
        if any(number == other["number"] for path, other in videos.items() if path != said["video"]):
            number = max(other["number"] for other in videos.values()) + 1
        videos[said["video"]] = said | {"number": number}
    return replace(meta, videos=tuple(videos.values()), time_unit=meta.time_unit or more.time_unit)


def gallery_videos(videos: Sequence[Mapping[str, Any]]) -> dict[int, GalleryVideo]:
    """The videos of a gallery's record, by number."""
    return {
        said["number"]: GalleryVideo(
            said["number"],
            Path(said["video"]),
            said["camera"],
            datetime.fromisoformat(said["start"]).timestamp(),
            said["seconds"],
        )
        for said in videos
    }


def video_at(videos: Sequence[GalleryVideo], camera: int | None, time: float | None) -> tuple[int, float] | None:
    """Number of the video that shows a camera at a time, and the second in it; None if none is there.

    Args:
        videos: Of the gallery.
        camera: Number of the camera.
        time: Seconds since 1970.
    """
    for video in videos:
        if camera == video.camera and time is not None and -_SLACK <= time - video.start <= video.seconds + _SLACK:
            return (video.number, round(max(time - video.start, 0.0), 3)) if video.path.is_file() else None
    return None
