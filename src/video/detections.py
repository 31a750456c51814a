"""Vehicles in frames: what a detector finds, and which of it counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from src.runtime.errors import ConfigError

#: Vehicles among COCO's classes.
VEHICLES = ("car", "motorcycle", "bus", "truck")
_OVERLAP = 0.5  # intersection over union from which two boxes are one vehicle, whatever their classes


@dataclass(frozen=True)
class Detections:
    """Detections of one frame.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels, `(N, 4)`.
        scores: 0 to 1, `(N,)`.
        classes: Number of each one's class, `(N,)`.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Detections":
        """Some of them, by number or by mask."""
        return Detections(self.boxes[rows], self.scores[rows], self.classes[rows])


class Detector(Protocol):
    """Finds things in images.

    Attributes:
        names: Name of each class.
    """

    names: Sequence[str]

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detections of all classes in each RGB image `(H, W, 3)`, without suppression of what overlaps."""
        ...


@dataclass(frozen=True)
class Selection:
    """Choice of the detections that count.

    Attributes:
        classes: Numbers of the classes.
        score: Least score.
        min_side: Least shorter side of a box, in pixels.
        region: Corners `(P, 2)` of a polygon, in parts of the frame's width and height, in which the middle of the
            box's lower edge must lie, where the vehicle meets the road; None for the whole frame.
    """

    classes: NDArray[np.int64]
    score: float
    min_side: float
    region: NDArray[np.float32] | None = None

    def __call__(self, found: Detections, size: tuple[int, int]) -> Detections:
        """The detections that count, best first, one of those that overlap.

        Args:
            found: Of one frame.
            size: Height and width of the frame.
        """
        height, width = size
        boxes = found.boxes.clip(0, np.array([width, height, width, height], dtype=np.float32))
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (found.scores >= self.score) & (sides.min(axis=1, initial=np.inf) >= self.min_side)
        kept &= np.isin(found.classes, self.classes)
        if self.region is not None:
            feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1) / [width, height]
            kept &= np.array(
                [cv2.pointPolygonTest(self.region, foot, False) >= 0 for foot in feet.tolist()], dtype=bool
            )
        found = Detections(boxes, found.scores, found.classes).take(kept)
        return found.take(nms(torch.from_numpy(found.boxes), torch.from_numpy(found.scores), _OVERLAP).numpy())


def class_numbers(names: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Numbers of classes by name.

    Raises:
        ConfigError: If the detector does not know one.
    """
    if missing := [name for name in wanted if name not in names]:
        known = ", ".join(name for name in names if name not in {"", "N/A", "__background__"})
        raise ConfigError(f"classes has {missing[0]!r}, but the detector knows {known}.")
    return np.array([number for number, name in enumerate(names) if name in wanted], dtype=np.int64)
