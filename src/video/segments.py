"""Record of a video, segment by segment, so that a killed run goes on after the last whole one."""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from src.runtime.errors import ConfigError
from src.runtime.whole_files import write_atomically
from src.video.best_crops import Track
from src.video.decode import Position
from src.video.detections import Detections

_ENDING = ".segment"


@dataclass(frozen=True)
class Crop:
    """A crop that was written.

    Attributes:
        path: Below the output folder.
        track: Number of the track in its video.
        time: Seconds from the start of the video.
        box: x1, y1, x2, y2 in the frame.
        score: The detector's.
        luminance: Of the frame, 0 to 1.
        type: Name of the track's class.
    """

    path: str
    track: int
    time: float
    box: tuple[int, int, int, int]
    score: float
    luminance: float
    type: str


@dataclass
class Segment:
    """A whole segment of a video.

    Attributes:
        number: Its time divided by the length of a segment.
        position: Where the video had been read to when it ended.
        video_bytes: Size of the file then.
        times: When each of its frames is shown.
        found: Detections of each frame.
        crops: Of the tracks that ended in it.
        live: Tracks that were in view when it ended.
        last: Whether the video ended with it.
        problem: Why the video ended early; empty if it did not.
    """

    number: int
    position: Position
    video_bytes: int
    times: list[float] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)
    live: list[Track] = field(default_factory=list)
    last: bool = False
    problem: str = ""

    def write(self, folder: Path) -> None:
        """Writes its file, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        jpegs = [kept.encode() for track in self.live for kept in track.best.values()]
        said = {
            "position": asdict(self.position),
            "video_bytes": self.video_bytes,
            "crops": [asdict(crop) for crop in self.crops],
            "live": [track.as_dict() for track in self.live],
            "jpegs": [len(jpeg) for jpeg in jpegs],
            "last": self.last,
            "problem": self.problem,
        }
        buffer = io.BytesIO()
        np.savez(
            buffer,
            said=np.frombuffer(json.dumps(said).encode(), dtype=np.uint8),
            jpegs=np.frombuffer(b"".join(jpegs), dtype=np.uint8),
            times=np.array(self.times, dtype=np.float64),
            counts=np.array([len(found) for found in self.found], dtype=np.int64),
            boxes=_joined([found.boxes for found in self.found], (0, 4), np.float32),
            scores=_joined([found.scores for found in self.found], (0,), np.float32),
            classes=_joined([found.classes for found in self.found], (0,), np.int64),
        )
        write_atomically(folder / f"{self.number:06d}{_ENDING}", buffer.getbuffer())

    @classmethod
    def read(cls, file: Path) -> "Segment":
        """Reads its file.

        Raises:
            ConfigError: If it is damaged.
        """
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            said: dict[str, Any] = json.loads(arrays["said"].tobytes())
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"{file} cannot be read ({error}); delete it and those after it, and run again."
            ) from error
        cuts = np.cumsum(arrays["counts"])[:-1]
        parts = zip(*(np.split(arrays[name], cuts) for name in ("boxes", "scores", "classes")), strict=True)
        content, ends = arrays["jpegs"].tobytes(), np.cumsum([0, *said["jpegs"]]).tolist()
        jpegs = [content[start:end] for start, end in pairwise(ends)]
        live, used = [], 0
        for values in said["live"]:
            count = len(values["best"])
            live.append(Track.from_dict(values, jpegs[used : used + count]))
            used += count
        return cls(
            number=int(file.stem),
            position=Position(**said["position"]),
            video_bytes=said["video_bytes"],
            times=arrays["times"].tolist(),
            found=[Detections(*part) for part in parts] if len(arrays["counts"]) else [],
            crops=[Crop(**{**crop, "box": tuple(crop["box"])}) for crop in said["crops"]],
            live=live,
            last=said["last"],
            problem=said["problem"],
        )


def read_segments(folder: Path) -> list[Segment]:
    """The segments of a video so far, in order."""
    return [Segment.read(file) for file in sorted(folder.glob(f"*{_ENDING}"))]


def drop_last(folder: Path) -> None:
    """Forgets the last segment of a video, which has grown since."""
    max(folder.glob(f"*{_ENDING}")).unlink()


def _joined(parts: Sequence[np.ndarray], empty: tuple[int, ...], kind: Any) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(empty, dtype=kind)
