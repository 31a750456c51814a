"""Videos to crop: file, camera, start and place of each."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.runtime.errors import ConfigError
from src.video.day_or_night import Place

_REQUIRED = ("video", "camera", "start")
_COLUMNS = (*_REQUIRED, "place", "region")


@dataclass(frozen=True)
class Source:
    """A video of a camera.

    Attributes:
        video: The file.
        camera: Number of the camera.
        start: When its first frame was taken, seconds since 1970, UTC.
        place: Where the camera stands; None if unknown.
        region: Polygon `(P, 2)` of the region of interest in parts of the frame, None for all of it.
    """

    video: Path
    camera: int
    start: float
    place: Place | None = None
    region: NDArray[np.float32] | None = None

    @property
    def name(self) -> str:
        """Camera and start, as a folder is called."""
        return f"camera{self.camera}_{datetime.fromtimestamp(self.start, UTC):%Y%m%dT%H%M%SZ}"


def one_source(video: str, camera: Any, start: Any, place: Any = None, region: Any = None, where: str = "") -> Source:
    """A source from what a configuration or a line of a file says.

    Args:
        video: The file.
        camera: A whole number.
        start: Date and time, ISO 8601, UTC unless it says otherwise.
        place: Latitude and longitude, two numbers or text with them; None or empty if unknown.
        region: At least three corners x y in parts of the frame, numbers or text with them; None or empty for all.
        where: What an error says first.

    Raises:
        ConfigError: If one of them is malformed.
    """
    try:
        number = int(camera)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ConfigError(f"{where}camera is {camera!r}, expected the camera's number, 0 or more.")
    corners = _numbers(region)
    if corners and (len(corners) < 6 or len(corners) % 2 or not all(0 <= value <= 1 for value in corners)):
        raise ConfigError(
            f"{where}region is {region!r}, expected at least three corners x y in parts of the frame, each 0 to 1, "
            "such as [[0,0.4],[1,0.4],[1,1],[0,1]]."
        )
    degrees = _numbers(place)
    if degrees and not (len(degrees) == 2 and abs(degrees[0]) <= 90 and abs(degrees[1]) <= 180):
        raise ConfigError(f"{where}place is {place!r}, expected latitude and longitude, such as [10.77,106.70].")
    return Source(
        Path(video),
        number,
        _start(start, where),
        Place(*degrees) if degrees else None,
        np.array(corners, dtype=np.float32).reshape(-1, 2) if corners else None,
    )


def read_sources(path: Path) -> list[Source]:
    """Reads a CSV file with a line a video: video, camera, start, and place and region if they are known.

    Videos are paths below the file's folder or absolute ones; a place is `10.77 106.70`, a region `0 0.4 1 0.4 1 1`.

    Raises:
        ConfigError: If the file is missing or a line of it is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True, skipinitialspace=True)
            header, lines = reader.fieldnames or [], [(reader.line_num, line) for line in reader]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"videos={path} cannot be read as a CSV file of {', '.join(_COLUMNS)} ({error}).") from error
    if not set(_REQUIRED) <= set(header) <= set(_COLUMNS):
        raise ConfigError(
            f"videos={path} has the columns {', '.join(header)}, expected {', '.join(_REQUIRED)}, and place and region "
            "if they are known."
        )
    if not lines:
        raise ConfigError(f"videos={path} names no video; add a line for each.")
    found = []
    for number, line in lines:
        if None in line or None in line.values():
            raise ConfigError(f"videos={path}, line {number}, has not {len(header)} fields: {', '.join(header)}.")
        values = {name: value.strip() for name, value in line.items()}
        video = str(path.parent / values.pop("video"))
        found.append(one_source(video, **values, where=f"videos={path}, line {number}: "))
    return found


def check_sources(sources: Sequence[Source]) -> None:
    """Refuses videos that are not there, and two of one camera that start together.

    Raises:
        ConfigError: Names the first.
    """
    names: dict[str, Path] = {}
    for source in sources:
        if not source.video.is_file():
            raise ConfigError(f"The video {source.video} is not there; pass the path of a video file.")
        if source.name in names:
            raise ConfigError(
                f"{names[source.name]} and {source.video} are both of camera {source.camera} and start together; give "
                "each its own camera or start."
            )
        names[source.name] = source.video


def _start(text: Any, where: str) -> float:
    try:
        moment = datetime.fromisoformat(str(text).strip())
    except ValueError as error:
        raise ConfigError(
            f"{where}start is {text!r}, expected the date and time of the first frame, such as "
            "2026-11-21T08:00:00+07:00 (UTC unless it says otherwise)."
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _numbers(value: Any) -> list[float] | None:
    """Numbers of nested lists or of text; None where there are none, NaN where text is no number."""
    if value is None or value == "":
        return None
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    numbers: list[float] = []
    for part in parts:
        if isinstance(part, str | int | float):
            try:
                numbers.append(float(part))
            except ValueError:
                numbers.append(float("nan"))
        else:
            numbers += _numbers(part) or []
    return numbers
