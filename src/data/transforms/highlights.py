"""Highlight mask of a glaring image, of DNDM's night-domain glare suppression."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = Literal["bt601", "bt709", "mean"]

#: Weights of R, G and B in whole numbers, so that sums in float32 are exact; the grey is their quotient by the sum.
GREYS: dict[Grey, tuple[int, int, int]] = {"bt601": (299, 587, 114), "bt709": (2126, 7152, 722), "mean": (1, 1, 1)}


def glare_mask(
    image: NDArray[np.uint8],
    grey: Grey = "bt601",
    threshold: float = 220,
    smallest: float = 9,
    connectivity: Literal[4, 8] = 8,
) -> NDArray[np.uint8]:
    """Highlights of an image: bright pixels in connected regions that are not small.

    DNDM, Li et al., CVPR 2024, night-domain glare suppression. The paper leaves out the grey weights, the connectivity
    and the smallest region.

    Args:
        image: RGB, `(H, W, 3)`, as the network will see it but for photometric changes and erasing.
        grey: Weights of the colours: those of ITU-R BT.601 or BT.709, or their mean.
        threshold: Pixels of a grey above it are bright, on the 0…255 scale.
        smallest: Pixels of the smallest region that stays in a 256 × 256 image; in proportion to the area in others.
        connectivity: Whether pixels that touch at a side (4), or at a corner too (8), are one region.

    Returns:
        1 where it glares, else 0, `(H, W)`.
    """
    bright = _bright(image, GREYS[grey], threshold)
    count, labelled = cv2.connectedComponents(bright, connectivity=connectivity)
    regions = np.asarray(labelled, dtype=np.int32)
    # Counting the bright pixels alone is many times faster than OpenCV's statistics. Region 0, the rest, counts none.
    area = np.bincount(regions[bright > 0], minlength=count)
    large = (area * 256**2 >= smallest * bright.size) & (area > 0)
    return large.astype(np.uint8).take(regions)


def released_glare_mask(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask that the authors' released code computes: red and blue swapped, 3 × 3 opening for small regions.

    Args:
        image: RGB, `(H, W, 3)`; there the resized image before any augmentation.

    Returns:
        1 where it glares, else 0, `(H, W)`.
    """
    square = np.ones((3, 3), dtype=np.uint8)
    # Outside the image counts as dark, as with the zero-padded convolutions there.
    kept = cv2.erode(_bright(image, GREYS["bt601"][::-1], 220), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.dilate(kept, square).astype(np.uint8)


def _bright(image: NDArray[np.uint8], weights: tuple[int, ...], threshold: float) -> NDArray[np.uint8]:
    """Pixels above the threshold. The sums are whole numbers, exact in float32: a grey of exactly 220 is not above."""
    grey = cv2.transform(image.astype(np.float32), np.array([weights], dtype=np.float32))
    return (grey > sum(weights) * threshold).astype(np.uint8)
