"""Frames of a video file at the times they are shown."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from src.runtime.errors import ConfigError
from src.video.packages import require

_SHORT = 1.0  # seconds that a video may end before its header says so


class VideoError(ValueError):
    """Something is wrong with a video; the message is one sentence for the user."""


@dataclass(frozen=True)
class Every:
    """Choice of the frames that are looked at: one in so many seconds, or in so many frames.

    Attributes:
        seconds: Least time between two; 0 takes all.
        frames: Each so-manieth frame.
    """

    seconds: float = 0.0
    frames: int = 1

    @classmethod
    def parse(cls, text: str | float | None) -> "Every":
        """Reads `0.2` or `"0.2"` (seconds), `"5f"` (frames), or None (all frames).

        Raises:
            ConfigError: If it is neither.

        >>> Every.parse("5f")
        Every(seconds=0.0, frames=5)
        """
        if text is None:
            return cls()
        try:
            every = cls(frames=int(str(text)[:-1])) if str(text).endswith("f") else cls(seconds=float(text))
        except ValueError:
            every = cls(frames=0)
        if every.frames < 1 or not 0 <= every.seconds < math.inf:
            raise ConfigError(f"every is {text!r}, expected seconds (0.2), frames (5f), or null for all frames.")
        return every


@dataclass
class Position:
    """Place up to which a video has been read, enough to go on from.

    Attributes:
        time: Of the last frame that was decoded, in seconds from the start.
        number: How many frames have been decoded.
        due: When the next frame is looked at.
        corrupt: How many of them were damaged and left out.
    """

    time: float = -1.0
    number: int = 0
    due: float = 0.0
    corrupt: int = 0


@dataclass(frozen=True)
class Frame:
    """A frame that is looked at.

    Attributes:
        time: When it is shown, in seconds from the start.
        position: How far the video has been read with it.
        image: RGB `(H, W, 3)`.
    """

    time: float
    position: Position
    image: NDArray[np.uint8]


class Video:
    """A video file, open for reading.

    Times are the file's presentation times, so that variable frame rates and gaps keep their times; frames without one
    follow the frame before at the file's frame rate. Frames are turned upright as phones ask for.

    Args:
        path: Any file that FFmpeg reads.

    Attributes:
        duration: Seconds, as the header says; None if it does not.
        frame_rate: Frames a second, on average.
        position: How far it has been read.
        problem: Where reading ended too early, and why; empty if it did not.

    Raises:
        VideoError: If it is missing, no video, or holds no video stream.
    """

    def __init__(self, path: Path) -> None:
        av = require("av", "videos")
        if not path.is_file():
            raise VideoError(f"The video {path} is not there; pass the path of a video file.")
        try:
            self._container: Any = av.open(str(path))
        except (OSError, ValueError) as error:
            raise VideoError(
                f"The video {path} cannot be opened ({_reason(error)}); it is no video or cut off."
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise VideoError(f"{path} holds no video stream, only sound or data; pass a video file.")
        self.path = path
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        unit = self._stream.time_base
        self.frame_rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.duration = float(self._stream.duration * unit) if self._stream.duration else None
        if self.duration is None and self._container.duration:
            self.duration = self._container.duration / av.time_base
        self._start = float((self._stream.start_time or 0) * unit)
        self.position = Position()
        self.problem = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def frames(self, every: Every, after: Position | None = None) -> Iterator[Frame]:
        """Reads frames until the end, or until the file is damaged, which `problem` then says.

        Args:
            every: Which frames.
            after: Where reading ended before; goes on behind it.

        Yields:
            Frames whose time is later than that of all before.

        Raises:
            VideoError: If there is not one frame.
        """
        here = self.position = replace(after) if after else Position()
        for frame in self._decoded(seek=here.time):
            time = here.time + 1 / self.frame_rate if frame.pts is None else frame.time - self._start
            time = max(time, 0.0) if here.number == 0 else time
            if time <= here.time:
                continue
            here.time, here.number = time, here.number + 1
            if frame.is_corrupt:
                here.corrupt += 1
                continue
            if (here.number - 1) % every.frames == 0 and time >= here.due - 1e-6:
                # From where it was due, not from now: 0.1 s of a 25 Hz video is 10 frames a second on average.
                here.due = time + every.seconds if here.due < time - every.seconds else here.due + every.seconds
                yield Frame(time, replace(here), _upright(frame.to_ndarray(format="rgb24"), frame.rotation))
        if here.number == 0:
            reason = f" ({self.problem})" if self.problem else ""
            raise VideoError(f"The video {self.path} holds not one frame that can be read{reason}.")
        if not self.problem and self.duration is not None and here.time + 1 / self.frame_rate < self.duration - _SHORT:
            self.problem = f"it ends at {here.time:.2f} s, but its header says {self.duration:.2f} s"

    def _decoded(self, seek: float) -> Iterator[Any]:
        if seek > 0:  # to the key frame before
            self._container.seek(int((seek + self._start) / self._stream.time_base), stream=self._stream)
        try:
            yield from self._container.decode(self._stream)
        except (OSError, ValueError) as error:
            where = "its beginning" if self.position.number == 0 else f"{self.position.time:.2f} s"
            self.problem = f"it is damaged after {where}: {_reason(error)}"


def _upright(image: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """An image turned counterclockwise by quarters of a circle, as a phone notes how it was held."""
    quarters = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
