"""Options of image transforms, and the pipelines that they ask for."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, get_args

import albumentations as A
import cv2

from src.data.table import DataError
from src.data.transforms.background import BackgroundSubstitution
from src.data.transforms.contamination import Contamination
from src.data.transforms.erasing import RandomErasing
from src.data.transforms.highlights import Grey, glare_mask
from src.data.transforms.jpeg import JPEG
from src.data.transforms.pipeline import Glare, Pipeline
from src.data.transforms.shrink import RandomShrink

_IMAGENET_MEAN = (124, 116, 104)
_PROBABILITIES = (
    *("shrink", "background", "flip", "zoom", "perspective"),
    *("colour_jitter", "blur", "jpeg", "erasing"),
)
#: Option with a smallest and a largest value → what lies below and what may be the largest, and what they are.
_RANGES = {
    "shrink_scale": (0, 1, "shares of 1"),
    "zoom_scale": (0, 4, "factors up to 4"),
    "perspective_scale": (0, 0.25, "shares of the sides up to 0.25"),
    "blur_scale": (0, 1, "shares of 1"),
    "jpeg_quality": (0, 100, "qualities from 1 to 100"),
}


@dataclass(frozen=True)
class Transforms:
    """Image transforms: the same size always, the rest in training only.

    Defaults are those of Luo et al., "Bag of Tricks and A Strong Baseline for Deep Person Re-identification", CVPRW
    2019, in their order: resize, flip, pad and crop, erase.

    Attributes:
        size: Height and width, or one number for both.
        shrink: Probability of shrinking an image that is larger than the size, before it is resized.
        shrink_scale: Smallest and largest factor by which it is shrunk.
        background: Probability of taking the background from another training image; needs masks.
        feather: Softness of the vehicle's edge before another background, in pixels; 0 for a hard edge.
        flip: Probability of a horizontal flip.
        zoom: Probability of making the vehicle larger or smaller in its picture, as another detector's box would.
        zoom_scale: Smallest and largest factor, 1 for the size it has.
        perspective: Probability of a view from a slightly other place: each corner moves.
        perspective_scale: Smallest and largest standard deviation of that move, in shares of the image's sides.
        pad: Black pixels added on each side before cropping back to the size at a random place.
        colour_jitter: Probability of changing brightness, contrast, saturation and hue.
        colour_range: By how much at most, each: shares of 1, for the hue of the colour circle.
        blur: Probability of losing detail, as far vehicles do: the image is shrunk and enlarged again.
        blur_scale: Smallest and largest factor by which it is shrunk.
        jpeg: Probability of compression as JPEG.
        jpeg_quality: Lowest and highest quality, of 100.
        erasing: Probability of random erasing.
        erasing_area: Smallest and largest share of the image that is erased.
        erasing_aspect: Smallest height to width of what is erased; the largest is its reciprocal.
        erasing_fill: What is erased becomes this RGB value.
        glare: Compute glare masks. `"paper"`: of the image as the network sees it but for colour jitter and erasing.
            `"released"`: as the authors' code does, of the image before any augmentation, so that the two do not line
            up.
        glare_grey: Of the paper's mask: weights of the colours in its grey, `"bt601"`, `"bt709"` or `"mean"`.
        glare_threshold: Likewise: a grey above it glares.
        glare_smallest: Likewise: pixels of the smallest region that counts, of an image of 256 × 256.
        glare_connectivity: Likewise: whether regions are joined at sides alone (4) or at corners too (8).
        mask: Give the vehicles' masks to the network.
        mask_files: Where masks are that the table does not name, below the data set's folder; `{path}` is the image's
            path without its ending.
        contamination: Damage evaluated images; None leaves them as they are.

    Raises:
        DataError: If a value makes no sense.
    """

    size: int | tuple[int, int] = 256
    shrink: float = 0.0
    shrink_scale: tuple[float, float] = (0.4, 0.6)
    background: float = 0.0
    feather: float = 0.0
    flip: float = 0.5
    zoom: float = 0.0
    zoom_scale: tuple[float, float] = (0.8, 1.2)
    perspective: float = 0.0
    perspective_scale: tuple[float, float] = (0.02, 0.08)
    pad: int = 10
    colour_jitter: float = 0.0
    colour_range: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.05)
    blur: float = 0.0
    blur_scale: tuple[float, float] = (0.4, 0.9)
    jpeg: float = 0.0
    jpeg_quality: tuple[int, int] = (30, 90)
    erasing: float = 0.5
    erasing_area: tuple[float, float] = (0.02, 0.4)
    erasing_aspect: float = 0.3
    erasing_fill: tuple[int, int, int] = _IMAGENET_MEAN
    glare: Literal["paper", "released"] | None = None
    glare_grey: Grey = "bt601"
    glare_threshold: float = 220
    glare_smallest: float = 9
    glare_connectivity: Literal[4, 8] = 8
    mask: bool = False
    mask_files: str = "masks/{path}.png"
    contamination: Contamination | None = None

    def __post_init__(self) -> None:
        if self.glare not in (None, "paper", "released"):
            raise DataError(f"transforms.glare is {self.glare!r}, expected paper, released or null.")
        self._check_highlights()
        if min(self.height_and_width) < 1:
            raise DataError(f"transforms.size is {self.size}, expected at least one pixel.")
        for name in _PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"transforms.{name} is {getattr(self, name)}, expected a probability from 0 to 1.")
        for name, (lowest, highest, words) in _RANGES.items():
            smallest, largest = getattr(self, name)
            if not lowest < smallest <= largest <= highest:
                raise DataError(f"transforms.{name} is {smallest} to {largest}, expected two ascending {words}.")
        if len(self.colour_range) != 4 or not all(0 <= share <= 1 for share in self.colour_range):
            raise DataError(
                f"transforms.colour_range is {list(self.colour_range)}, expected four shares of 1: of brightness, "
                "contrast, saturation and hue."
            )
        if self.feather < 0:
            raise DataError(f"transforms.feather is {self.feather}, expected a number of pixels, 0 for a hard edge.")
        if "{path}" not in self.mask_files:
            raise DataError(
                f"transforms.mask_files is {self.mask_files!r}, expected {{path}} in it: the image's path without its "
                "ending."
            )

    def _check_highlights(self) -> None:
        if self.glare_grey not in get_args(Grey):
            raise DataError(f"transforms.glare_grey is {self.glare_grey!r}, expected {', '.join(get_args(Grey))}.")
        if not 0 <= self.glare_threshold < 255:
            raise DataError(
                f"transforms.glare_threshold is {self.glare_threshold}, expected a grey from 0 to below 255."
            )
        if self.glare_smallest < 0:
            raise DataError(f"transforms.glare_smallest is {self.glare_smallest}, expected a number of pixels.")
        if self.glare_connectivity not in (4, 8):
            raise DataError(f"transforms.glare_connectivity is {self.glare_connectivity}, expected 4 or 8.")
        own = [one for one in fields(self) if one.name.startswith("glare_")]
        changed = [one.name for one in own if getattr(self, one.name) != one.default]
        if changed and self.glare != "paper":
            raise DataError(
                f"transforms.{changed[0]} is for the paper's glare masks, and transforms.glare is "
                f"{self.glare or 'null'}; leave it away, or pass transforms.glare=paper."
            )

    @property
    def _highlights(self) -> Glare | None:
        """The glare mask that is asked for."""
        if self.glare != "paper":
            return self.glare
        return partial(
            glare_mask,
            grey=self.glare_grey,
            threshold=self.glare_threshold,
            smallest=self.glare_smallest,
            connectivity=self.glare_connectivity,
        )

    def training(self) -> Pipeline:
        """The transformation with its random parts."""
        height, width = self.height_and_width
        smallest, largest = self.shrink_scale
        shrink = RandomShrink((height, width), (smallest, largest), p=self.shrink)
        zoom = A.Affine(scale=self.zoom_scale, keep_ratio=True, p=self.zoom)
        perspective = A.Perspective(self.perspective_scale, p=self.perspective)
        moved: list[A.BasicTransform] = [A.HorizontalFlip(p=self.flip), *_possible(zoom, perspective)]
        if self.pad:
            moved += [A.Pad(self.pad, p=1), A.RandomCrop(height, width, p=1)]
        *around_one, hue = self.colour_range
        jitter = A.ColorJitter(*((1 - share, 1 + share) for share in around_one), (-hue, hue), p=self.colour_jitter)
        blur = A.Downscale(self.blur_scale, {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}, p=self.blur)
        jpeg = JPEG(quality_range=self.jpeg_quality, p=self.jpeg)
        smallest, largest = self.erasing_area
        red, green, blue = self.erasing_fill
        erase = RandomErasing((smallest, largest), self.erasing_aspect, (red, green, blue), p=self.erasing)
        painted = [*_possible(jitter, blur, jpeg, erase)]
        background = BackgroundSubstitution((height, width), self.feather, p=self.background)
        return Pipeline(
            (height, width),
            moved,
            painted,
            self._highlights,
            before=[shrink] if self.shrink else [],
            behind=[background] if self.background else [],
        )

    def evaluation(self) -> Pipeline:
        """The transformation without its random parts: resize, and contamination if asked for."""
        return Pipeline(self.height_and_width, [], [], self._highlights, self.contamination)

    @property
    def height_and_width(self) -> tuple[int, int]:
        """Height and width that images are resized to."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])


def _possible(*steps: A.BasicTransform) -> Iterator[A.BasicTransform]:
    """The steps that happen at all: one that never does would draw numbers all the same."""
    return (step for step in steps if step.p > 0)
