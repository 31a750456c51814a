"""Random erasing."""

from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

_ATTEMPTS = 100


class RandomErasing(A.ImageOnlyTransform):
    """Paints over a random rectangle (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1).

    Albumentations' own `Erasing` cannot be used for the paper's range: of a square image it erases at most the share
    `ratio[0]`, 30 %, where re-identification uses up to 40 %.

    Args:
        area: Smallest and largest share of the image's area.
        aspect: Smallest height to width; the largest is its reciprocal.
        fill: RGB value of the rectangle.
        p: Probability.
    """

    class InitSchema(A.ImageOnlyTransform.InitSchema):
        """The types of the arguments, which albumentations checks."""

        area: tuple[float, float]
        aspect: float
        fill: tuple[int, int, int]

    def __init__(self, area: tuple[float, float], aspect: float, fill: tuple[int, int, int], p: float) -> None:
        super().__init__(p=p)
        self.area = area
        self.aspect = aspect
        self.fill = fill

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draws rectangles until one fits into the image."""
        height, width = params["shape"][:2]
        for _ in range(_ATTEMPTS):
            area = self.py_random.uniform(*self.area) * height * width
            aspect = self.py_random.uniform(self.aspect, 1 / self.aspect)
            tall, wide = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if tall < height and wide < width:
                top, left = self.py_random.randint(0, height - tall), self.py_random.randint(0, width - wide)
                return {"rectangle": (slice(top, top + tall), slice(left, left + wide))}
        return {"rectangle": (slice(0), slice(0))}

    def apply(self, img: NDArray[np.uint8], rectangle: tuple[slice, slice], **_: Any) -> NDArray[np.uint8]:
        """Paints the rectangle."""
        erased = img.copy()
        erased[rectangle] = self.fill
        return erased
