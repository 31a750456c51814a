"""Description of a folder of crops: `table.csv`, a line a crop, and `meta.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.runtime.errors import ConfigError
from src.runtime.json_files import write_json
from src.runtime.whole_files import write_atomically
from src.video.cropping import SEGMENTS
from src.video.day_or_night import Place, by_luminance, by_sun
from src.video.segments import Crop, read_segments
from src.video.sources import Source

SCHEMA = 1
_TRACKS = 1_000_000  # of one video at most
_COLUMNS = ("path", "track_id", "camera_id", "timestamp", "time", "domain", "type", "frame_box", "score")


@dataclass
class CroppedVideo:
    """A video of a folder of crops.

    Attributes:
        number: It keeps this, so that its tracks keep theirs.
        source: The video.
        crops: So far.
        done: Whether all of it is cropped.
        seconds: How far it is.
        problem: Why it ended early; empty if it did not.
        corrupt: How many of its frames were damaged and left out.
        bytes_then: Size of the file when its last segment was written.
        doubtful: Share of the tracks whose day or night is doubtful; None where it was not judged.
    """

    number: int
    source: Source
    crops: list[Crop] = field(default_factory=list)
    done: bool = False
    seconds: float = 0.0
    problem: str = ""
    corrupt: int = 0
    bytes_then: int = 0
    doubtful: float | None = None

    def track_id(self, track: int) -> int:
        """Number of a track among all videos."""
        return self.number * _TRACKS + track

    @property
    def whole(self) -> bool:
        """Whether there is nothing left to crop; a recording may have grown since."""
        return self.done and self.source.video.stat().st_size == self.bytes_then

    def reread(self, out: Path) -> None:
        """Takes what its segments say."""
        segments = read_segments(out / self.source.name / SEGMENTS)
        self.crops = [crop for segment in segments for crop in segment.crops]
        if segments:
            last = segments[-1]
            self.done, self.seconds, self.problem = last.last, max(last.position.time, 0.0), last.problem
            self.corrupt, self.bytes_then = last.position.corrupt, last.video_bytes


def read_videos(out: Path, sources: Sequence[Source], made_by: Mapping[str, Any]) -> list[CroppedVideo]:
    """The videos of a folder: those that were cropped into it before, and new ones.

    Args:
        out: The folder, which need not exist.
        sources: The videos that are cropped now.
        made_by: How; a folder whose crops were made otherwise is refused.

    Returns:
        In the order of their numbers, with the crops that are there.

    Raises:
        ConfigError: If the folder holds something else.
    """
    file = out / "meta.json"
    videos = []
    if file.is_file():
        meta = json.loads(file.read_text(encoding="utf-8"))
        if "made_by" not in meta or "videos" not in meta:
            raise ConfigError(f"{out} holds something that src.crop has not made; pass another folder as out.")
        for name, value in made_by.items():
            if (before := meta["made_by"].get(name)) != value:
                raise ConfigError(
                    f"{out} holds crops that were made with {name}={before}, not {value}; pass another folder as out, "
                    "or delete this one."
                )
        videos = [CroppedVideo(said["number"], _source(said)) for said in meta["videos"]]
    for source in sources:
        same = next((video for video in videos if video.source.name == source.name), None)
        if same is None:
            videos.append(CroppedVideo(max((video.number for video in videos), default=0) + 1, source))
        else:
            same.source = source
    for video in videos:
        video.reread(out)
    return videos


def write_tables(
    out: Path, videos: Sequence[CroppedVideo], made_by: Mapping[str, Any], *, domain: str | None, dusk: float
) -> pd.DataFrame:
    """Writes `table.csv` and `meta.json`.

    Args:
        out: The folder.
        videos: All of its videos.
        made_by: How the crops were made.
        domain: `"day"`, `"night"`, `"auto"` judges each track, None leaves it unknown.
        dusk: See `by_sun`.

    Returns:
        The table.
    """
    parts = [_rows(video, domain, dusk) for video in videos]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_COLUMNS])
    write_table(out, table)
    meta = {
        "schema": SCHEMA,
        "time_unit": "unix",
        "made_by": dict(made_by),
        "videos": [_described(video) for video in videos],
    }
    write_json(out / "meta.json", meta)
    return table


def write_table(out: Path, table: pd.DataFrame) -> None:
    """Writes `table.csv`."""
    write_atomically(out / "table.csv", table.to_csv(index=False, float_format="%.3f"))


def utc_text(time: float) -> str:
    """A time as ISO 8601 has it, to milliseconds."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rows(video: CroppedVideo, domain: str | None, dusk: float) -> pd.DataFrame:
    start = video.source.start
    table = pd.DataFrame(
        {
            "path": [crop.path for crop in video.crops],
            "track_id": [video.track_id(crop.track) for crop in video.crops],
            "camera_id": video.source.camera,
            "timestamp": [start + crop.time for crop in video.crops],
            "time": [utc_text(start + crop.time) for crop in video.crops],
            "domain": "",
            "type": [crop.type for crop in video.crops],
            "frame_box": [" ".join(map(str, crop.box)) for crop in video.crops],
            "score": [crop.score for crop in video.crops],
        },
        columns=[*_COLUMNS],
    )
    if domain in ("day", "night"):
        table["domain"] = domain
    elif domain == "auto" and len(table):
        luminance = pd.Series([crop.luminance for crop in video.crops])
        means = pd.DataFrame({"time": table["timestamp"], "luminance": luminance}).groupby(table["track_id"]).mean()
        place = video.source.place
        judged = (
            by_luminance(means["luminance"].tolist()) if place is None else by_sun(place, means["time"].tolist(), dusk)
        )
        table["domain"] = table["track_id"].map(dict(zip(means.index, judged.domains, strict=True)))
        video.doubtful = judged.doubtful
    return table


def _described(video: CroppedVideo) -> dict[str, Any]:
    source = video.source
    tracks = {crop.track for crop in video.crops}
    return {
        "number": video.number,
        "video": str(source.video.resolve()),
        "camera": source.camera,
        "start": utc_text(source.start),
        "place": None if source.place is None else [source.place.latitude, source.place.longitude],
        "region": None if source.region is None else source.region.round(6).tolist(),
        "seconds": round(video.seconds, 3),
        "done": video.done,
        "tracks": len(tracks),
        "crops": len(video.crops),
        "problem": video.problem,
        "corrupt_frames": video.corrupt,
        "doubtful_domains": video.doubtful,
    }


def _source(said: Mapping[str, Any]) -> Source:
    start = datetime.fromisoformat(said["start"]).timestamp()
    region = None if said["region"] is None else np.array(said["region"], dtype=np.float32)
    place = None if said["place"] is None else Place(*said["place"])
    return Source(Path(said["video"]), said["camera"], start, place, region)
