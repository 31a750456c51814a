"""Highlight mask of a glaring image, of DNDM's night-domain glare suppression."""

import cv2
import numpy as np
from numpy.typing import NDArray

_THRESHOLD = 220
_SMALLEST_REGION = 9  # pixels of a 256 × 256 image
_BT601 = (299, 587, 114)  # thousandths of R, G and B


def glare_mask(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Highlights of an image: bright pixels in 8-connected regions that are not small.

    DNDM, Li et al., CVPR 2024, night-domain glare suppression. The paper leaves out the grey weights (here BT.601), the
    connectivity and the smallest region (here 9 pixels of 256², in proportion to the image's area).

    Args:
        image: RGB, `(H, W, 3)`, as the network will see it but for photometric changes and erasing.

    Returns:
        1 where it glares, else 0, `(H, W)`.
    """
    bright = _bright(image, _BT601)
    count, labelled = cv2.connectedComponents(bright, connectivity=8)
    regions = np.asarray(labelled, dtype=np.int32)
    # Counting the bright pixels alone is many times faster than OpenCV's statistics. Region 0, the rest, counts none.
    area = np.bincount(regions[bright > 0], minlength=count)
    large = area * 256**2 >= _SMALLEST_REGION * bright.size
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
    kept = cv2.erode(_bright(image, _BT601[::-1]), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.dilate(kept, square).astype(np.uint8)


def _bright(image: NDArray[np.uint8], weights: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels above the threshold. The sums are whole numbers, exact in float32: a grey of exactly 220 is not above."""
    grey = cv2.transform(image.astype(np.float32), np.array([weights], dtype=np.float32))
    return (grey > 1000 * _THRESHOLD).astype(np.uint8)
