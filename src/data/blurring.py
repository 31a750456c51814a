"""Parts of pictures that nobody shall read: number plates, faces."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

_CELLS = 4  # that are left of a part's longer side
_MARGIN = 0.1  # of a part's sides, around it


def blurred(image: NDArray[np.uint8], boxes: Iterable[tuple[float, float, float, float]]) -> NDArray[np.uint8]:
    """A picture with parts of it averaged to at most 4 × 4 cells, from which no filter brings letters back.

    Args:
        image: `(H, W, 3)`.
        boxes: x1, y1, x2, y2 of the parts in pixels; a tenth around each is blurred too, what lies outside is cut off.
    """
    image = image.copy()
    for x1, y1, x2, y2 in boxes:
        right, below = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
        left, top = max(0, int(np.floor(x1 - right))), max(0, int(np.floor(y1 - below)))
        end, bottom = max(0, int(np.ceil(x2 + right))), max(0, int(np.ceil(y2 + below)))
        part = image[top:bottom, left:end]
        if part.size == 0:
            continue
        rows, columns = part.shape[:2]
        scale = _CELLS / max(rows, columns, _CELLS)
        few = cv2.resize(part, (max(1, int(columns * scale)), max(1, int(rows * scale))), interpolation=cv2.INTER_AREA)
        part[:] = cv2.resize(few, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return image
