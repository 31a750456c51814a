"""Reading images."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.table import DataError


def read_image(path: Path, box: str = "") -> NDArray[np.uint8]:
    """Reads an image as the network wants it, whatever it is: grey, CMYK, with transparency, 16 bits, turned by EXIF.

    Args:
        path: A file that OpenCV can read.
        box: Part to cut out, `"x1 y1 x2 y2"` in 0-based pixels, right and bottom exclusive; empty for all of it.

    Returns:
        RGB, `(H, W, 3)` uint8. Transparency is dropped, 16 bits become their upper 8.

    Raises:
        DataError: If the file is missing, empty, damaged or cut off, or the box misses the image.
    """
    image = _crop(_decode(_content(path), path, cv2.IMREAD_COLOR), box, path)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_image(content: bytes, name: str) -> NDArray[np.uint8]:
    """The same for a file in memory.

    Args:
        content: Of the file.
        name: What an error calls it.
    """
    return np.asarray(cv2.cvtColor(_decode(content, name, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_mask(path: Path, box: str = "") -> NDArray[np.uint8]:
    """Reads a mask: 1 where the picture is brighter than half, else 0, `(H, W)` uint8; otherwise as `read_image`."""
    return _crop((_decode(_content(path), path, cv2.IMREAD_GRAYSCALE) > 127).astype(np.uint8), box, path)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"The image {path} cannot be read: {error.strerror}; check the data set's folder.") from error


def _decode(content: bytes, path: Path | str, mode: int) -> NDArray[np.uint8]:
    if not content:
        raise DataError(f"The image {path} is empty, expected a picture; copy it again from the data set's archive.")
    if _cut_off(content):
        raise DataError(f"The image {path} is cut off in the middle; copy it again from the data set's archive.")
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), mode)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"The image {path} is damaged or no picture; copy it again from the data set's archive.")
    return np.asarray(image, dtype=np.uint8)


def _cut_off(content: bytes) -> bool:
    """Whether the end is missing, which decoders fill with grey without a word.

    JPEG: the last scan must be followed by an end marker, which cannot occur within one. PNG: the last chunk is IEND.
    """
    if content.startswith(b"\xff\xd8"):
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    return content.startswith(b"\x89PNG") and b"IEND" not in content[-64:]


def _crop(image: NDArray[np.uint8], box: str, path: Path) -> NDArray[np.uint8]:
    if not box:
        return image
    left, top, right, bottom = map(int, box.split())
    part = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if part.size == 0:
        height, width = image.shape[:2]
        raise DataError(
            f"The box {box!r} misses the image {path} of {width} × {height} pixels; expected x1 y1 x2 y2 within it."
        )
    return part
