"""Images as an unreliable transmission leaves them: mosaic, colour cast, abnormal brightness."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from src.data.table import DataError

Kind = Literal["mosaic", "colour_cast", "brightness", "mixed"]
#: What the paper names; `mixed` is all of them in one image.
KINDS: tuple[Kind, ...] = ("mosaic", "colour_cast", "brightness")
# Red, green and blue of one step in luma Y and in chroma U and V (ITU-R BT.601, full range).
_YUV_TO_RGB = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])


@dataclass(frozen=True)
class Contamination:
    """Damages a share of an image's pixels, for the test of Tables VI and VII of DFR-ST.

    Tu et al., "DFR-ST: Discriminative feature representation with spatio-temporal cues for vehicle re-identification",
    Pattern Recognition 2022, Section IV-D4. The paper names the kinds, the shares, and improperly decoded YUV matrices
    as the cause; the rest is decided here. What is damaged are the square blocks in which video is coded, drawn at
    random; the last one in part, so that the share is exact. A larger share damages the same blocks and more.

    Attributes:
        kind: `"mosaic"`: a damaged block becomes its mean. `"colour_cast"`: its chroma is shifted, in a direction drawn
            for the image. `"brightness"`: its luma is shifted, up or down for the whole image. `"mixed"`: each block
            has one of the three.
        share: Damaged pixels of all pixels, from 0 to 1.
        seed: What is drawn is a function of this seed and the image's.
        block: Side of a block in pixels of the image that the network sees; 16 is that of an MPEG-2 macroblock.
        luma: How far Y is shifted, of 255.
        chroma: How far (U, V) is shifted, of 255.

    Raises:
        DataError: If a value makes no sense.
    """

    kind: Kind
    share: float
    seed: int = 0
    block: int = 16
    luma: float = 96.0
    chroma: float = 64.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(f"contamination.kind is {self.kind!r}, expected one of {', '.join(get_args(Kind))}.")
        if self.share is None or not 0 <= self.share <= 1:
            raise DataError(f"contamination.share is {self.share}, expected a share of the pixels from 0 to 1.")
        if self.block < 2:
            raise DataError(f"contamination.block is {self.block}, expected at least 2 pixels.")
        if self.seed < 0:
            raise DataError(f"contamination.seed is {self.seed}, expected 0 or more.")

    def __call__(self, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """A damaged copy of an image.

        Args:
            image: RGB, `(H, W, 3)` uint8.
            seed: The image's own, non-negative, of any size.
        """
        height, width = image.shape[:2]
        rng = np.random.default_rng((self.seed, seed))
        blocks = (-(-height // self.block), -(-width // self.block))
        order = rng.permutation(blocks[0] * blocks[1]).reshape(blocks)
        # The same for every kind and share, so that they differ in nothing else.
        angle, sign = rng.uniform(0, 2 * np.pi), rng.choice((-1, 1))
        mixed = rng.integers(len(KINDS), size=blocks)
        kind = self._spread(mixed if self.kind == "mixed" else np.full(blocks, KINDS.index(self.kind)), height, width)
        seen = image.astype(np.int16)
        shifts = {
            "colour_cast": (0, self.chroma * np.cos(angle), self.chroma * np.sin(angle)),
            "brightness": (sign * self.luma, 0, 0),
        }
        for name, shift in shifts.items():
            seen[kind == KINDS.index(name)] += np.rint(_YUV_TO_RGB @ shift).astype(np.int16)
        mosaic = kind == KINDS.index("mosaic")
        seen[mosaic] = self._means(image)[mosaic]
        hit = self._hit(self._spread(order, height, width))
        return np.where(hit[..., None], seen.clip(0, 255).astype(np.uint8), image)

    def _spread(self, values: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
        """One value a block as one value a pixel."""
        return values.repeat(self.block, axis=0).repeat(self.block, axis=1)[:height, :width]

    def _hit(self, order: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mask of the damaged pixels: those of the first blocks, as many as the share says."""
        hit = np.zeros(order.size, dtype=np.bool_)
        hit[np.argsort(order, axis=None, kind="stable")[: round(self.share * order.size)]] = True
        return hit.reshape(order.shape)

    def _means(self, image: NDArray[np.uint8]) -> NDArray[np.int16]:
        """The image with every block's pixels replaced by their mean."""
        height, width = image.shape[:2]
        tops, lefts = np.arange(0, height, self.block), np.arange(0, width, self.block)
        sums = np.add.reduceat(np.add.reduceat(image.astype(np.int64), tops, axis=0), lefts, axis=1)
        counts = np.outer(np.diff([*tops, height]), np.diff([*lefts, width]))
        return self._spread(np.rint(sums / counts[..., None]).astype(np.int64), height, width).astype(np.int16)
