"""Same vehicle or not: true and false acceptance over all pairs, and the distance threshold for either."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from src.retrieval.distances.feature_distance import Distance
from src.retrieval.exact_evaluation import block_rows
from src.retrieval.relevance import Relevance

Distances = NDArray[np.float32]


@dataclass(frozen=True)
class EqualError:
    """The smallest rate that neither false acceptance nor false rejection exceeds, and its threshold if finite."""

    rate: float
    threshold: float | None


@dataclass(frozen=True)
class VerificationSummary:
    """Rates of a verification, as `metrics.json` has them.

    Attributes:
        tpr: True positive rate by false positive rate, `"0.001"`; None where there is none.
        threshold: The largest distance that is accepted, likewise.
        equal_error: None if it lies beyond the rates that were measured.
        positives: Number of positive pairs.
        negatives: Number of negative pairs.
    """

    tpr: dict[str, float | None]
    threshold: dict[str, float | None]
    equal_error: EqualError | None
    positives: int
    negatives: int


@dataclass(frozen=True)
class VerificationResult:
    """Decisions by a threshold: a pair is accepted if its distance is at most the threshold.

    The rates are exact, not interpolated, and false acceptance never exceeds what is asked for: where the distance of
    a negative pair is the first too many, all pairs at exactly its distance are rejected. Pairs at infinite distance,
    which a filter took out, are never accepted but count.

    Attributes:
        positives: Distances of all positive pairs, ascending.
        negatives: The smallest distances of negative pairs, ascending: one more than may be accepted at `max_fpr`.
        n_negatives: Number of negative pairs.
        max_fpr: Up to which false positive rate the result can be asked.
    """

    positives: Distances
    negatives: Distances
    n_negatives: int
    max_fpr: float

    def tpr(self, fpr: float) -> float:
        """True positive rate: share of the positive pairs accepted at a false positive rate; NaN without any.

        Raises:
            ValueError: If `fpr` is not between 0 and `max_fpr`.
        """
        accepted = np.searchsorted(self.positives, self._first_rejected(fpr))
        return float(accepted / len(self.positives)) if len(self.positives) > 0 else math.nan

    def threshold(self, fpr: float) -> float:
        """The largest distance of an accepted pair at a false positive rate; −infinity if none can be accepted.

        Raises:
            ValueError: If `fpr` is not between 0 and `max_fpr`.
        """
        return self._largest_below(self._first_rejected(fpr))

    def equal_error_rate(self) -> tuple[float, float]:
        """The smallest rate that neither false acceptance nor false rejection exceeds, and its threshold.

        Unlike the best F1 it does not depend on how many negatives a gallery happens to have.

        Raises:
            ValueError: If the rate is larger than `max_fpr`, or there are no positive or no negative pairs.
        """
        if len(self.positives) == 0 or self.n_negatives == 0:
            raise ValueError(
                f"There are {len(self.positives)} positive and {self.n_negatives} negative pairs: an equal error "
                "rate needs both."
            )
        bounds = np.append(self.negatives, np.inf) if self._complete else self.negatives
        false_acceptance = np.searchsorted(self.negatives, bounds) / self.n_negatives
        false_rejection = 1 - np.searchsorted(self.positives, bounds) / len(self.positives)
        larger = np.maximum(false_acceptance, false_rejection)
        best = int(larger.argmin())
        if not self._complete and false_acceptance[-1] < false_rejection[-1]:
            raise ValueError(
                f"{false_rejection[-1]:.1%} of the positive pairs are still rejected at max_fpr={self.max_fpr}: "
                "raise it to learn the equal error rate."
            )
        return float(larger[best]), self._largest_below(bounds[best])

    def curve(self, points: int = 200) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """False positive rates, evenly spaced on a logarithmic axis up to `max_fpr`, and their true positive rates.

        The first is that of a single negative pair.
        """
        fpr = np.geomspace(min(1 / max(self.n_negatives, 1), self.max_fpr), self.max_fpr, points)
        fpr[-1] = self.max_fpr  # which rounding may miss
        return fpr, np.array([self.tpr(one) for one in fpr])

    def summary(self, fprs: Sequence[float] = (1e-4, 1e-3, 1e-2)) -> VerificationSummary:
        """True positive rate and threshold at false positive rates."""
        try:
            rate, threshold = self.equal_error_rate()
        except ValueError:
            equal = None
        else:
            equal = EqualError(rate, _finite(threshold))
        return VerificationSummary(
            tpr={f"{fpr:g}": _finite(self.tpr(fpr)) for fpr in fprs},
            threshold={f"{fpr:g}": _finite(self.threshold(fpr)) for fpr in fprs},
            equal_error=equal,
            positives=len(self.positives),
            negatives=self.n_negatives,
        )

    @property
    def _complete(self) -> bool:
        """Whether no other negative pair is at a finite distance."""
        return len(self.negatives) == self.n_negatives or bool(np.isinf(self.negatives[-1]))

    def _first_rejected(self, fpr: float) -> float:
        """The distance from which on pairs are rejected."""
        if not 0 <= fpr <= self.max_fpr:
            raise ValueError(
                f"fpr is {fpr}, expected a rate from 0 to max_fpr={self.max_fpr}: verify with a larger one."
            )
        allowed = _allowed(fpr, self.n_negatives)
        return float(self.negatives[allowed]) if allowed < len(self.negatives) else math.inf

    def _largest_below(self, bound: float) -> float:
        below = [
            part[place - 1] for part in (self.positives, self.negatives) if (place := part.searchsorted(bound)) > 0
        ]
        return float(max(below, default=-math.inf))


def verify(
    distance: Distance, relevance: Relevance, *, max_fpr: float = 1e-2, block_mb: float = 128
) -> VerificationResult:
    """Decides for all pairs of queries and gallery entries that are not ignored, a block of queries at a time.

    Beside the block there are 4 bytes for each positive pair and for `max_fpr` of the negative pairs, about three
    times that while a block's negatives are merged.

    Args:
        distance: Distance from queries to gallery entries; infinite where a filter took an entry out.
        relevance: What is right and what is ignored. Pairs with a distractor are negative.
        max_fpr: The largest false positive rate that the result shall answer for.
        block_mb: Memory for one block of distances, in MiB. At least one query row is held.

    Raises:
        ValueError: If sizes differ, `max_fpr` is not a rate, or a distance is NaN.
    """
    n_queries, n_gallery = distance.shape
    if (relevance.n_queries, relevance.n_gallery) != distance.shape:
        raise ValueError(
            f"There are labels for {relevance.n_queries} queries and {relevance.n_gallery} gallery entries, "
            f"expected {n_queries} and {n_gallery}: one for each row of the distance."
        )
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr is {max_fpr}, expected a rate above 0 and up to 1.")
    rows = block_rows(n_gallery, block_mb)
    starts = range(0, n_queries, rows)
    others = (len(pairs.rows) for start in starts for pairs in relevance.pairs(start, start + rows))
    n_negatives = n_queries * n_gallery - sum(others)
    kept = min(_allowed(max_fpr, n_negatives) + 1, n_negatives)

    positive: list[Distances] = []
    negatives = np.full(kept, np.inf, dtype=np.float32)
    for start in starts:
        positives, ignored = relevance.pairs(start, start + rows)
        block = distance.block(slice(start, min(start + rows, n_queries)), slice(0, n_gallery))
        if block.isnan().any():
            raise ValueError(f"A distance of the queries {start} to {start + len(block) - 1} is NaN.")
        at = torch.from_numpy(positives.rows), torch.from_numpy(positives.columns)
        positive.append(block[at].cpu().numpy())
        block[at] = torch.inf
        block[torch.from_numpy(ignored.rows), torch.from_numpy(ignored.columns)] = torch.inf
        if kept > 0:
            nearer = block[block < float(negatives.max())].cpu().numpy()
            negatives = np.partition(np.concatenate([negatives, nearer]), kept - 1)[:kept]
        del block  # before the next one is made
    return VerificationResult(
        np.sort(np.concatenate([*positive, np.empty(0, dtype=np.float32)])), np.sort(negatives), n_negatives, max_fpr
    )


def _allowed(fpr: float, n_negatives: int) -> int:
    """The most negative pairs that may be accepted, whatever the product rounds to."""
    count = round(fpr * n_negatives)
    return count if count / max(n_negatives, 1) <= fpr else count - 1


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
