"""How far probabilities are from the truth: calibration error, Brier score, cost of evidence, reliability."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from src.retrieval.probabilities.calibration import CalibrationErrors, from_log_odds, log_odds
from src.retrieval.probabilities.score_counts import GRID, ScoreCounts

BINS = 15  # as Guo et al. have them


class Reliability(NamedTuple):
    """Bins of a reliability diagram, those that hold pairs.

    Attributes:
        said: Mean probability of the pairs of each bin.
        right: Share of them that show one vehicle.
        weight: Share of all pairs, which may be weighted.
    """

    said: NDArray[np.float64]
    right: NDArray[np.float64]
    weight: NDArray[np.float64]


def reliability(probabilities: ArrayLike, same: ArrayLike, weights: ArrayLike | None = None) -> Reliability:
    """Sorts pairs into 15 bins of equal width by their probability.

    Args:
        probabilities: `(N,)`.
        same: Whether each pair shows one vehicle, or the share of the pairs it stands for.
        weights: Of each; all alike by default.
    """
    said, truth = (np.asarray(values, dtype=np.float64) for values in (probabilities, same))
    weight = np.ones(len(said)) if weights is None else np.asarray(weights, dtype=np.float64)
    places = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    total, told, right = (np.bincount(places, values, BINS) for values in (weight, weight * said, weight * truth))
    there = total > 0
    total = total[there]
    return Reliability(told[there] / total, right[there] / total, total / total.sum())


def expected_calibration_error(bins: Reliability) -> float:
    """Expected calibration error: mean distance of said and true over the bins, by the share of pairs in each.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Eq. 3. NaN without pairs.
    """
    return float((bins.weight * np.abs(bins.said - bins.right)).sum()) if len(bins.weight) else float("nan")


def cost_of_evidence(evidence: NDArray[np.float64], same: NDArray[Any], different: NDArray[Any]) -> float:
    """Cost of the log-likelihood ratio, C_llr: mean surprise in bits at even odds; 0 is perfect, 1 says nothing.

    Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006. NaN if a class is empty.

    Args:
        evidence: `(N,)`.
        same: Number of pairs of one vehicle with this evidence, `(N,)`.
        different: Number of pairs of two.
    """
    if not same.sum() or not different.sum():
        return float("nan")
    missed = (same * np.logaddexp(0, -evidence)).sum() / same.sum()
    false = (different * np.logaddexp(0, evidence)).sum() / different.sum()
    return float((missed + false) / (2 * np.log(2)))


def measure_errors(
    evidence: NDArray[np.float64],
    same: NDArray[Any],
    different: NDArray[Any],
    prior: float,
    share: float | None = None,
) -> tuple[CalibrationErrors, Reliability]:
    """Errors of probabilities, and the reliability diagram behind them.

    Args:
        evidence: `(N,)`.
        same: Number of pairs of one vehicle with this evidence, `(N,)`; some pairs of either class.
        different: Number of pairs of two.
        prior: Share of right pairs that the probabilities are for.
        share: Weigh pairs so that so large a share of them is right; None to count each once.
    """
    there = (same + different) > 0
    evidence, same, different = evidence[there], same[there].astype(np.float64), different[there].astype(np.float64)
    pairs = int(same.sum() + different.sum())
    right, wrong = same, different
    if share is not None:
        right, wrong = same * (share / same.sum()), different * ((1 - share) / different.sum())
    total = right + wrong
    said = from_log_odds(evidence + log_odds(prior))
    brier = float((right * (1 - said) ** 2 + wrong * said**2).sum() / total.sum())
    bins = reliability(said, right / total, total)
    cllr = cost_of_evidence(evidence, same, different)
    errors = CalibrationErrors(expected_calibration_error(bins), brier, cllr, float(right.sum() / total.sum()), pairs)
    return errors, bins


def false_non_match(counts: ScoreCounts, false_match: float) -> float:
    """Share of the pairs of one vehicle that are rejected where at most so large a share of the others is accepted.

    NaN if either class is empty.

    Args:
        counts: Of the pairs.
        false_match: The largest share of pairs of two vehicles that may be accepted.
    """
    same, different = counts.total
    if not same or not different:
        return float("nan")
    accepted = np.cumsum(counts.different[::-1])[::-1]  # at each of GRID as the least score
    allowed = accepted <= false_match * different
    first = int(allowed.argmax()) if allowed.any() else len(GRID)
    return float(counts.same[:first].sum() / same)


@dataclass(frozen=True)
class Refusal:
    """How well "not in the gallery" is known, with half of the query vehicles taken out of it.

    A query is refused if its nearest image shows its vehicle with a probability below one half.

    Attributes:
        f1: Harmonic mean of the next two.
        precision: Share of the refused queries whose vehicle is not there.
        recall: Share of the queries whose vehicle is not there that are refused.
        queries: Their number.
        absent: How many of them have nothing to find.
        prior: Share of right pairs that the probabilities are for.
    """

    f1: float
    precision: float
    recall: float
    queries: int
    absent: int
    prior: float


def refusal(nearest: NDArray[np.float64], absent: NDArray[np.bool_], prior: float, least: float = 0.5) -> Refusal:
    """Scores the refusal of queries; a share of nothing is 0.

    Args:
        nearest: Probability that a query's nearest image shows its vehicle, `(Q,)`.
        absent: Whether its vehicle is not in the gallery, `(Q,)`.
        prior: That the probabilities are for.
        least: Below this probability a query is refused.
    """
    refused = nearest < least
    right = int((refused & absent).sum())
    precision, recall = right / max(1, int(refused.sum())), right / max(1, int(absent.sum()))
    f1 = 2 * right / max(1, int(refused.sum()) + int(absent.sum()))
    return Refusal(f1, precision, recall, len(nearest), int(absent.sum()), prior)
