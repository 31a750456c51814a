"""Fits evidence to the scores of pairs of known vehicles."""

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from src.retrieval.probabilities.calibration import (
    Calibration,
    CalibrationErrors,
    EvidenceCurve,
    Fit,
    Kind,
    Source,
    log_odds,
)
from src.retrieval.probabilities.probability_errors import measure_errors
from src.retrieval.probabilities.score_counts import GRID, ScoreCounts, count_pairs

LEAST_VEHICLES = 8
LEAST_PAIRS = 20  # of one vehicle, and of two
LEAST_OF_DOMAINS = 200  # for a curve of their own


class TooFewPairs(ValueError):  # noqa: N818 - no fault of anybody
    """There are too few vehicles or pairs to fit evidence to; the message says how many."""


def fit_calibration(
    features: NDArray[np.float32],
    vehicles: NDArray[np.int64],
    cameras: NDArray[np.int64],
    domains: NDArray[np.object_],
    source: Source,
    matches: float,
    seed: int = 0,
) -> Calibration:
    """Fits both kinds to half of the vehicles, takes the one with less `cllr` on the other half, and fits it to all.

    Args:
        features: L2-normalised, `(N, D)`.
        vehicles: Of each image, `(N,)`.
        cameras: Of each; −1 where it is unknown.
        domains: Of each; "" where it is unknown.
        source: See `Fit`.
        matches: See `Fit`.
        seed: Decides the halves.

    Raises:
        TooFewPairs: If there are too few vehicles, or pairs of one vehicle.
    """
    names = np.unique(vehicles)
    everything = count_pairs(features, vehicles, cameras, domains)
    same, different = everything[""].total
    if len(names) < LEAST_VEHICLES or min(same, different) < LEAST_PAIRS:
        raise TooFewPairs(
            f"there are {len(names)} vehicles with {same} pairs of images that a query shall find, expected at least "
            f"{LEAST_VEHICLES} and {LEAST_PAIRS}"
        )
    first = np.isin(vehicles, np.random.default_rng(seed).permutation(names)[: len(names) // 2])
    halves = [count_pairs(features[h], vehicles[h], cameras[h], domains[h])[""] for h in (first, ~first)]
    errors = {kind: _crossed(kind, halves) for kind in get_args(Kind)} if all(map(_enough, halves)) else {}
    best: Kind = min(errors, key=lambda kind: errors[kind].cllr) if errors else "logistic"
    return Calibration(
        curve=fit_curve(best, everything[""]),
        by_domains={
            name: fit_curve(best, counts)
            for name, counts in everything.items()
            if name and min(counts.total) >= LEAST_OF_DOMAINS
        },
        fit=Fit(
            kind=best,
            source=source,
            vehicles=len(names),
            images=len(features),
            same=same,
            different=different,
            matches=matches,
            errors={str(kind): error for kind, error in errors.items()},
        ),
    )


def _enough(counts: ScoreCounts) -> bool:
    return min(counts.total) > 0


def _crossed(kind: Kind, halves: list[ScoreCounts]) -> CalibrationErrors:
    """Mean errors on each half of what was fitted to the other."""
    one, other = (
        measure_errors(fit_curve(kind, a)(GRID), b.same, b.different, prior=0.5, share=0.5)[0]
        for a, b in (halves, halves[::-1])
    )
    means: Mapping[str, float] = {
        name: (getattr(one, name) + getattr(other, name)) / 2 for name in ("ece", "brier", "cllr")
    }
    return replace(one, **means, pairs=one.pairs + other.pairs)


def fit_curve(kind: Kind, counts: ScoreCounts) -> EvidenceCurve:
    """Fits evidence.

    Args:
        kind: `"isotonic"`: of all non-decreasing curves the likeliest, by pooling adjacent violators. Two pairs of each
            class are added beyond the lowest score and the highest (Laplace's rule of succession, as Brümmer and de
            Villiers, "The BOSARIS toolkit", 2011, have it), so that no evidence is infinite. It does not depend on the
            share of right pairs, nor on any increasing transformation of the scores. `"logistic"`: of all lines the
            likeliest (Platt, "Probabilistic Outputs for Support Vector Machines", 1999, with his targets, which are
            not quite 0 and 1).
        counts: Of the pairs, at least one of each class.
    """
    return _isotonic(counts) if kind == "isotonic" else _logistic(counts)


def _isotonic(counts: ScoreCounts) -> EvidenceCurve:
    from sklearn.isotonic import IsotonicRegression

    there = (counts.same + counts.different) > 0
    scores = np.concatenate([[-2.0], GRID[there], [2.0]])
    same, different = (
        np.concatenate([[1], side[there], [1]]).astype(np.float64) for side in (counts.same, counts.different)
    )
    pooled = IsotonicRegression().fit(scores, same / (same + different), sample_weight=same + different)
    levels = np.asarray(pooled.predict(scores), dtype=np.float64)[1:-1]
    evidence = np.log(levels) - np.log1p(-levels) - np.log(same.sum() / different.sum())
    # A knot at either end of each step; constant beyond the scores that were seen.
    new = np.diff(levels, prepend=-1, append=2) != 0
    knots = new[:-1] | new[1:]
    return EvidenceCurve(tuple(GRID[there][knots].tolist()), tuple(evidence[knots].tolist()))


def _logistic(counts: ScoreCounts) -> EvidenceCurve:
    from sklearn.linear_model import LogisticRegression

    same, different = counts.total
    there = (counts.same + counts.different) > 0
    scores = GRID[there]
    middle, width = _mean_and_deviation(scores, (counts.same + counts.different)[there])
    target, other = (same + 1) / (same + 2), 1 / (different + 2)
    positive = counts.same[there] * target + counts.different[there] * other
    negative = counts.same[there] * (1 - target) + counts.different[there] * (1 - other)
    line = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.tile((scores - middle) / width, 2)[:, None],
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([positive, negative]),
    )
    slope = float(line.coef_[0, 0])
    if slope <= 0:  # the model has learnt nothing, and a score says nothing
        return EvidenceCurve((-1.0, 1.0), (0.0, 0.0))
    offset = float(line.intercept_[0]) - log_odds(same / (same + different))
    evidence = (np.array([-1.0, 1.0]) - middle) / width * slope + offset
    return EvidenceCurve((-1.0, 1.0), tuple(evidence.tolist()))


def _mean_and_deviation(scores: NDArray[np.float64], weights: NDArray[np.int64]) -> tuple[float, float]:
    middle = float(np.average(scores, weights=weights))
    return middle, float(np.sqrt(np.average((scores - middle) ** 2, weights=weights))) or 1.0
