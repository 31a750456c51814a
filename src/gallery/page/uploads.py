"""Pictures from strangers."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from src.data import DataError
from src.data.images import decode_image

#: As Pillow calls them. What a browser can show, and no format that reads other files or runs a program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")


class UploadError(ValueError):
    """An upload that is refused; the message is one sentence for the user."""


def read_upload(content: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decodes an upload, once its header says that it is a picture of a sane size.

    Args:
        content: The file.
        max_pixels: Largest width × height.

    Returns:
        RGB, `(H, W, 3)`.

    Raises:
        UploadError: If it is no picture, cut off, or too large.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as header:
            width, height = header.size
    except Image.DecompressionBombError as error:
        raise UploadError(
            f"The picture is far too large, at most {max_pixels / 1e6:g} megapixels are taken."
        ) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UploadError(f"The file is no picture; {', '.join(FORMATS)} are taken.") from error
    if width * height > max_pixels:
        raise UploadError(
            f"The picture has {width} × {height} pixels, at most {max_pixels / 1e6:g} megapixels are taken."
        )
    try:
        return decode_image(content, "upload")
    except DataError as error:
        raise UploadError("The picture is damaged or cut off.") from error
