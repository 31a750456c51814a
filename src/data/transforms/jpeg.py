"""Compression."""

from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray


class JPEG(A.ImageCompression):
    """What is left of an RGB image in a JPEG file.

    Albumentations' own gives its RGB to OpenCV, which takes it for BGR: red loses what blue should.
    """

    def apply(self, img: NDArray[np.uint8], **params: Any) -> NDArray[np.uint8]:
        """Compresses the image as BGR."""
        return np.ascontiguousarray(super().apply(np.ascontiguousarray(img[..., ::-1]), **params)[..., ::-1])
