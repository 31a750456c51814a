"""The crops of a track that are worth keeping: sharp, large, uncovered, spread over its time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_SHARP_SIDE = 96  # crops are compared at this size
_SHARP = 150.0  # variance of the Laplacian at which a crop counts half
_CUT = 0.5  # what a vehicle at the frame's border, of which a part is outside, counts
_EDGE = 2  # pixels from the border
_SLOT = 0.1  # seconds


@dataclass
class Candidate:
    """A crop that may be kept.

    Attributes:
        time: Seconds from the start of the video.
        box: x1, y1, x2, y2 in the frame, whole pixels.
        score: The detector's.
        quality: See `crop_quality`.
        luminance: Mean of the whole frame, 0 to 1.
        jpeg: The crop, once it is encoded.
        pixels: The crop, RGB, until then.
    """

    time: float
    box: tuple[int, int, int, int]
    score: float
    quality: float
    luminance: float
    jpeg: bytes = b""
    pixels: NDArray[np.uint8] | None = None

    def encode(self) -> bytes:
        """The crop as a JPEG file; its pixels are given up."""
        if self.pixels is not None:
            content = cv2.imencode(".jpg", self.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            self.jpeg, self.pixels = content.tobytes(), None
        return self.jpeg


@dataclass
class Track:
    """A vehicle that is or was in view, with the best crop of each slot of time.

    There are at most `4 · k` slots: when there would be more, two become one, so that a parked car takes no more memory
    than one that passes.

    Attributes:
        number: The tracker's.
        k: How many crops will be kept.
        first: When it was first seen.
        last: When it was last seen.
        slot: Seconds.
        count: How many detections it has.
        votes: Sum of their scores for each class.
        best: The best candidate of each slot.
    """

    number: int
    k: int
    first: float
    last: float
    slot: float = _SLOT
    count: int = 0
    votes: dict[str, float] = field(default_factory=dict)
    best: dict[int, Candidate] = field(default_factory=dict)

    def add(self, candidate: Candidate, name: str) -> None:
        """Takes note of a detection.

        Args:
            candidate: Its crop.
            name: Its class.
        """
        self.last = candidate.time
        self.count += 1
        self.votes[name] = self.votes.get(name, 0.0) + candidate.score
        _keep_better(self.best, int((candidate.time - self.first) / self.slot), candidate)
        while len(self.best) > 4 * self.k:
            self.slot *= 2
            merged: dict[int, Candidate] = {}
            for place, kept in self.best.items():
                _keep_better(merged, place // 2, kept)
            self.best = merged

    @property
    def type(self) -> str:
        """The class with the most votes."""
        return max(self.votes, key=lambda name: self.votes[name])

    @property
    def mean_score(self) -> float:
        """Of its detections."""
        return sum(self.votes.values()) / self.count

    def chosen(self) -> list[Candidate]:
        """The best crop of each of `k` equal parts of its time, and the best of the others where a part has none."""
        by_time = sorted(self.best.values(), key=lambda candidate: candidate.time)
        length = (self.last - self.first) / self.k or 1.0
        parts: dict[int, Candidate] = {}
        for candidate in by_time:
            _keep_better(parts, min(int((candidate.time - self.first) / length), self.k - 1), candidate)
        chosen = list(parts.values())
        rest = [candidate for candidate in by_time if all(candidate is not kept for kept in chosen)]
        chosen += sorted(rest, key=lambda candidate: -candidate.quality)[: self.k - len(chosen)]
        return sorted(chosen, key=lambda candidate: candidate.time)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the crops themselves."""
        best = {
            str(place): [kept.time, kept.box, kept.score, kept.quality, kept.luminance]
            for place, kept in self.best.items()
        }
        plain = {name: getattr(self, name) for name in ("number", "k", "first", "last", "slot", "count", "votes")}
        return plain | {"best": best}

    @classmethod
    def from_dict(cls, values: dict[str, Any], jpegs: Sequence[bytes]) -> "Track":
        """The track that `as_dict` was called on.

        Args:
            values: What it said.
            jpegs: Its crops, in the same order.
        """
        best = {
            int(place): Candidate(time, tuple(box), score, quality, luminance, jpeg)
            for (place, (time, box, score, quality, luminance)), jpeg in zip(values["best"].items(), jpegs, strict=True)
        }
        return cls(**{**values, "best": best})


def _keep_better(kept: dict[int, Candidate], place: int, candidate: Candidate) -> None:
    if place not in kept or kept[place].quality < candidate.quality:
        kept[place] = candidate


def crop_quality(crop: NDArray[np.uint8], covered: float, cut: bool) -> float:
    """Quality of a crop: the side of a square of its size, times how sharp and how uncovered it is.

    Sharpness is the variance v of the Laplacian of the crop at a fixed size, so that it does not count size again, as
    v / (v + 150): a crop of no detail counts nothing, and beyond some detail more makes little difference.

    Args:
        crop: RGB `(H, W, 3)`.
        covered: Share that boxes before it cover, 0 to 1.
        cut: Whether it reaches the border of the frame.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SHARP_SIDE, _SHARP_SIDE), interpolation=cv2.INTER_AREA)
    variance = float(cv2.Laplacian(small, cv2.CV_64F).var())
    side = float(np.sqrt(crop.shape[0] * crop.shape[1]))
    return side * variance / (variance + _SHARP) * (1 - covered) * (_CUT if cut else 1.0)


def covered_shares(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Largest share of each box that one box before it covers, `(N,)`.

    On a road seen from above it, of two boxes that overlap the one whose lower edge is lower stands before the other.

    Args:
        boxes: x1, y1, x2, y2, `(N, 4)`.
    """
    corners = boxes.astype(np.float64)
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    before = corners[None, :, 3] > corners[:, None, 3]
    shares: NDArray[np.float64] = np.where(before, shared / area[:, None], 0.0).max(axis=1, initial=0.0)
    return shares


def at_border(box: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    """Whether a box reaches the border of a frame of this height and width."""
    return min(box[0], box[1], size[1] - box[2], size[0] - box[3]) < _EDGE
