"""From an image of any size to the tensor a network takes; normalisation is the network's own business."""

import random
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from src.data.transforms.background import Substitution
from src.data.transforms.contamination import Contamination
from src.data.transforms.highlights import released_glare_mask

Image = NDArray[np.uint8]
#: The paper's mask, computed of the image as the network sees it; or the released one, of the resized image.
Glare = Callable[[Image], Image] | Literal["released"]


class Transformed(NamedTuple):
    """Layers of an image as the network sees them.

    Attributes:
        image: RGB, `(H, W, 3)` uint8.
        mask: The vehicle's mask, transformed like the image, `(H, W)` uint8 of 0 and 1; None if none was given.
        glare: Where a night image glares, `(H, W)` uint8 of 0 and 1; None if not asked for.
    """

    image: Image
    mask: Image | None
    glare: Image | None


class Pipeline:
    """A transformation that is a function of image and seed.

    Args:
        size: Height and width.
        moved: What moves pixels, applied to image and masks alike.
        painted: What changes pixels where they are, applied to the image after the glare mask was computed.
        glare: Which glare mask, None for none.
        contamination: Damages the resized image, before anything looks at it.
        before: What changes the size before the image is resized, applied to image and mask alike.
        behind: What changes the background of the resized image.
    """

    def __init__(
        self,
        size: tuple[int, int],
        moved: list[A.BasicTransform],
        painted: list[A.BasicTransform],
        glare: Glare | None,
        contamination: Contamination | None = None,
        before: Sequence[A.BasicTransform] = (),
        behind: Sequence[A.BasicTransform] = (),
    ) -> None:
        # Shrinking averages over the area, as PIL's resize does with which the published weights were trained; plain
        # bilinear interpolation would skip pixels.
        self._resize = A.Resize(*size, area_for_downscale="image")
        self._before = A.Compose([*before]) if before else None
        self._behind = A.Compose([*behind]) if behind else None
        self._moved = A.Compose(moved) if moved else None
        self._painted = A.Compose(painted) if painted else None
        self._glare = glare
        self._contamination = contamination
        # All steps draw from these two. `Compose.set_random_seed` would start every step from the same number: a step
        # with p = 0.5 would then happen exactly when every other step with p = 0.5 happens.
        self._numpy_random = np.random.Generator(np.random.PCG64())
        self._python_random = random.Random()
        for step in filter(None, (self._before, self._behind, self._moved, self._painted)):
            step.set_random_state(self._numpy_random, self._python_random)

    def __call__(
        self,
        image: Image,
        mask: Image | None = None,
        night: bool = False,
        seed: int = 0,
        substitution: Substitution | None = None,
    ) -> Transformed:
        """Transforms an image.

        Args:
            image: RGB, `(H, W, 3)` uint8.
            mask: `(H, W)` uint8 of 0 and 1.
            night: Whether it was taken by night: by day nothing glares for the paper.
            seed: Non-negative, of any size; equal seeds give equal results.
            substitution: Where another background comes from, if the transforms ask for one.
        """
        self._numpy_random.bit_generator.state = np.random.PCG64(seed).state
        self._python_random.seed(seed)
        layers = {"image": image} if mask is None else {"image": image, "mask": mask}
        if self._before is not None:
            layers = self._before(**layers)
        layers["image"] = self._resize.apply(layers["image"])
        if self._contamination is not None:
            layers["image"] = self._contamination(layers["image"], seed)
        if mask is not None:
            layers["mask"] = self._resize.apply_to_mask(layers["mask"])
        if self._behind is not None:
            layers["image"] = self._behind(image=layers["image"], substitution=substitution)["image"]
        before = layers["image"]
        if self._moved is not None:
            layers = self._moved(**layers)
        glare = None
        if self._glare == "released":  # of day images too: its network decides whose masks count
            glare = released_glare_mask(before)
        elif callable(self._glare):
            seen_shape = layers["image"].shape[:2]
            glare = self._glare(layers["image"]) if night else np.zeros(seen_shape, dtype=np.uint8)
        seen = layers["image"] if self._painted is None else self._painted(image=layers["image"])["image"]
        return Transformed(seen, layers.get("mask"), glare)
