"""What is taken for an image to embed: files, folders, files in memory, PIL images, arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageOps

from src.data.images import decode_image
from src.runtime.errors import ConfigError

Image = str | Path | bytes | PILImage.Image | NDArray[np.uint8]

#: Endings of what counts as an image in a folder, in lower case.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_EXPECTED = "a path, bytes of a file, a PIL image or an array"


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and those below it, sorted by path; what starts with a dot is hidden.

    Raises:
        ConfigError: If there is none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not found:
        raise ConfigError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); pass another folder.")
    return found


def listed_images(images: Image | Sequence[Image]) -> list[Image]:
    """What is to be embedded, one by one; a folder stands for the images in it.

    Raises:
        ConfigError: If a folder holds none.
        ValueError: If there is none, or it is nothing that can be embedded.
    """
    if isinstance(images, str | Path):
        path = Path(images).expanduser()
        return [*image_files(path)] if path.is_dir() else [path]
    if isinstance(images, bytes | PILImage.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
        return [images]
    if not isinstance(images, Sequence | np.ndarray):
        raise ValueError(f"There is a {type(images).__name__} to embed, expected {_EXPECTED}, or a list of them.")
    if len(images) == 0:
        raise ValueError("There is no image to embed; pass at least one.")
    return [*images]


def pixels_in_memory(place: int, image: bytes | PILImage.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB `(H, W, 3)` of an image in memory.

    Args:
        place: Its place among those to embed, for messages.
        image: The image.

    Raises:
        DataError: If it is damaged or cut off.
        ValueError: If it is none, or an array of another shape or type.
    """
    if isinstance(image, bytes):
        return decode_image(image, f"{place} in memory")
    if isinstance(image, PILImage.Image):
        return _rgb(place, ImageOps.exif_transpose(image))
    if not isinstance(image, np.ndarray):
        raise ValueError(f"Image {place} is a {type(image).__name__}, expected {_EXPECTED}.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"Image {place} is an array {image.shape} of {image.dtype}, expected (height, width, 3) of uint8, RGB."
        )
    return image


def _rgb(place: int, image: PILImage.Image) -> NDArray[np.uint8]:
    """RGB `(H, W, 3)`; 16 bits become their upper 8, as those of a file do, where Pillow would make them white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        upper = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)
        return np.repeat(upper[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"Image {place} has Pillow's mode {image.mode}, which does not say what is white; convert it to L or RGB."
        )
    return np.asarray(image.convert("RGB"))
