"""Background substitution: a vehicle before the background of another image."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
_CELLS, _SPREAD = 16, 4.0  # of the grid on which a vehicle is painted over


class Substitution(NamedTuple):
    """Source of a background; read only when it is needed.

    Attributes:
        read_mask: Reads the mask of the image's vehicle, `(H, W)` of 0 and 1, of any size.
        draw_other: Draws another image `(H, W, 3)` with its vehicle's mask `(H, W)`, of any size.
    """

    read_mask: Callable[[], Image]
    draw_other: Callable[[random.Random], tuple[Image, Image]]


class BackgroundSubstitution(A.ImageOnlyTransform):
    """Takes the background from another image.

    Attribute-guided network (Zhuge et al., CVPRW 2020), Section 3.1. What the other image's own vehicle hides of its
    background is painted over with the colours around, so that no picture shows two vehicles.

    The image must have its final size. Takes one more entry, `substitution`, a `Substitution` or None. Nothing happens
    if it is None, the image shows no vehicle or the other image no background.

    Args:
        size: Height and width of the images.
        feather: Standard deviation of the Gaussian that softens the vehicle's edge, in pixels; 0 for a hard edge.
        p: Probability.
    """

    class InitSchema(A.ImageOnlyTransform.InitSchema):
        """The types of the arguments, which albumentations checks."""

        size: tuple[int, int]
        feather: float

    def __init__(self, size: tuple[int, int], feather: float, p: float) -> None:
        super().__init__(p=p)
        self.size = size
        self.feather = feather
        self._resize = A.Resize(*size, area_for_downscale="image")

    @property
    def targets_as_params(self) -> list[str]:
        """Names of what the transform needs beside the image."""
        return ["substitution"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draws the other image."""
        substitution: Substitution | None = data["substitution"]
        if substitution is None:
            return {"vehicle": None, "other": None}
        vehicle = self._resize.apply_to_mask(substitution.read_mask())
        image, mask = substitution.draw_other(self.py_random)
        other = self._resize.apply(image), self._resize.apply_to_mask(mask)
        possible = vehicle.any() and not other[1].all()
        return {"vehicle": vehicle, "other": other if possible else None}

    def apply(self, img: Image, vehicle: Image | None, other: tuple[Image, Image] | None, **_: Any) -> Image:
        """Joins the two."""
        if vehicle is None or other is None:
            return img
        background = without_vehicle(*other)
        if self.feather == 0:
            return np.asarray(cv2.copyTo(img, vehicle, background), dtype=np.uint8)
        share = cv2.GaussianBlur(vehicle.astype(np.float32), (0, 0), self.feather)[..., None]
        return np.rint(share * img + (1 - share) * background).astype(np.uint8)


def without_vehicle(image: Image, vehicle: Image) -> Image:
    """Paints over a vehicle with a mean of the background, in which the near weighs most.

    The mean is taken on a grid of 16 × 16 cells, by a Gaussian of 4 cells that is 16 wide on each side and so reaches
    any place. The two pixels around the mask, which still show something of the vehicle's edge, are painted over too.

    Args:
        image: RGB, `(H, W, 3)`.
        vehicle: Its mask, `(H, W)` of 0 and 1, not 1 everywhere.
    """
    cells = (_CELLS, _CELLS)
    hidden = cv2.dilate(vehicle, np.ones((5, 5), dtype=np.uint8))
    if hidden.all():
        hidden = vehicle
    seen = 1 - hidden
    colours = cv2.resize(cv2.copyTo(image, seen).astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    weights = cv2.resize(seen.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    colours, weights = (cv2.GaussianBlur(layer, (0, 0), _SPREAD) for layer in (colours, weights))
    coarse = np.rint(colours / (weights[..., None] + 1e-9)).astype(np.uint8)
    paint = cv2.resize(coarse, vehicle.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.copyTo(paint, hidden, image.copy()), dtype=np.uint8)
