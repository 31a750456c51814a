"""Scores of all pairs as two histograms so fine that nothing else is needed of the pairs."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.exact_evaluation import block_rows
from src.retrieval.probabilities.calibration import DOMAINS, pair_kind
from src.retrieval.relevance import Relevance

STEPS = 10_000  # places of a score from 0 to 1
#: The scores that are told apart, `(20001,)`.
GRID: NDArray[np.float64] = np.arange(-STEPS, STEPS + 1) / STEPS
_BLOCK = 512  # images that are compared with all others at once


@dataclass(frozen=True)
class ScoreCounts:
    """Numbers of pairs by score, which is rounded to four digits.

    Attributes:
        same: Of pairs that show one vehicle, at each of `GRID`.
        different: Of pairs that show two.
    """

    same: NDArray[np.int64]
    different: NDArray[np.int64]

    @classmethod
    def of(cls, same: NDArray[np.floating], different: NDArray[np.floating]) -> Self:
        """The counts of scores that are there."""
        return cls(_histogram(same), _histogram(different))

    @classmethod
    def between(cls, query: Tensor, gallery: Tensor, relevance: Relevance, block_mb: float = 128) -> Self:
        """The counts of all pairs that are not ignored, a block of queries at a time.

        Args:
            query: L2-normalised embeddings `(Q, D)`.
            gallery: `(G, D)`.
            relevance: What is right and what is ignored.
            block_mb: Memory for one block of scores, in MiB.
        """
        everything, same, ignored = (np.zeros(len(GRID), dtype=np.int64) for _ in range(3))
        rows = block_rows(len(gallery), block_mb)
        for start in range(0, len(query), rows):
            scores = (query[start : start + rows].float() @ gallery.float().T).cpu().numpy()
            right, left_out = relevance.pairs(start, min(start + rows, len(query)))
            everything += _histogram(scores)
            same += _histogram(scores[right.rows, right.columns])
            ignored += _histogram(scores[left_out.rows, left_out.columns])
        return cls(same, everything - same - ignored)

    def __add__(self, other: "ScoreCounts") -> "ScoreCounts":
        return ScoreCounts(self.same + other.same, self.different + other.different)

    @property
    def total(self) -> tuple[int, int]:
        """Numbers of pairs of one vehicle and of two."""
        return int(self.same.sum()), int(self.different.sum())


def _histogram(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    places = np.clip(np.rint(scores.ravel() * STEPS), -STEPS, STEPS).astype(np.int64) + STEPS
    return np.bincount(places, minlength=len(GRID)).astype(np.int64)


def count_pairs(
    features: NDArray[np.float32],
    vehicles: NDArray[np.int64],
    cameras: NDArray[np.int64],
    domains: NDArray[np.object_],
) -> dict[str, ScoreCounts]:
    """The counts of all pairs of images, each once, but for those of one vehicle at one camera.

    Those are what a query must not find by the rules of most data sets; they are easier than what it shall find.

    Args:
        features: L2-normalised, `(N, D)`.
        vehicles: Of each image, `(N,)`.
        cameras: Of each; −1 where it is unknown.
        domains: Of each; "" where it is unknown.

    Returns:
        By kind: `""` for all pairs, and those of `pair_kind` for pairs of two known domains.
    """
    nothing = np.zeros(len(GRID), dtype=np.int64)
    counts = {"": ScoreCounts(nothing, nothing)}
    numbers = np.arange(len(features))
    for start in range(0, len(features), _BLOCK):
        one, other = numbers[start : start + _BLOCK, None], numbers[None, start:]
        scores = features[start : start + _BLOCK] @ features[start:].T
        same = vehicles[one] == vehicles[other]
        counted = (one < other) & ~(same & (cameras[one] == cameras[other]) & (cameras[one] >= 0))
        counts[""] += ScoreCounts.of(scores[counted & same], scores[counted & ~same])
        for left in DOMAINS:
            for right in DOMAINS:
                chosen = counted & (domains[one] == left) & (domains[other] == right)
                if chosen.any():
                    found = ScoreCounts.of(scores[chosen & same], scores[chosen & ~same])
                    kind = pair_kind(left, right)
                    counts[kind] = counts[kind] + found if kind in counts else found
    return counts
