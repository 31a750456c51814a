"""Random shrink: large images with as little detail as small ones."""

from typing import Any

import albumentations as A
import cv2
import numpy as np
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class RandomShrink(A.DualTransform):
    """Shrinks an image that is larger than the network's input, both sides by one factor.

    Attribute-guided network (Zhuge et al., CVPRW 2020), Section 3.1: resizing to the input's size comes after it and
    enlarges what was made too small. The paper says "larger"; here both sides are.

    Args:
        size: Height and width of the network's input.
        scale: Smallest and largest factor.
        p: Probability.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    class InitSchema(A.BasicTransform.InitSchema):
        """The types of the arguments, which albumentations checks."""

        size: tuple[int, int]
        scale: tuple[float, float]

    def __init__(self, size: tuple[int, int], scale: tuple[float, float], p: float) -> None:
        super().__init__(p=p)
        self.size = size
        self.scale = scale

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draws the factor."""
        height, width = params["shape"][:2]
        larger = height > self.size[0] and width > self.size[1]
        factor = self.py_random.uniform(*self.scale) if larger else 1
        return {"shrunk": (max(1, round(width * factor)), max(1, round(height * factor)))}

    def apply(self, img: Image, shrunk: tuple[int, int], **_: Any) -> Image:
        """Averages over areas."""
        return np.asarray(cv2.resize(img, shrunk, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def apply_to_mask(self, mask: Image, shrunk: tuple[int, int], **_: Any) -> Image:
        """Takes the nearest pixel."""
        return np.asarray(cv2.resize(mask, shrunk, interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)
