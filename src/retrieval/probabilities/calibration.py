"""From a similarity to a probability: what a score says, and what was to be expected before it was seen."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = Literal["isotonic", "logistic"]
#: Vehicles that a calibration was fitted to: put aside for it, held out and tested too, or trained on.
Source = Literal["put aside", "held out", "trained on"]
DOMAINS = ("day", "night")
Domains = str | NDArray[np.object_]
_ENDS = 1e-9  # no probability is nearer to 0 or 1


@dataclass(frozen=True)
class EvidenceCurve:
    """Evidence of a score: ln p(score | same vehicle) − ln p(score | different vehicles), which never decreases.

    It is a line from knot to knot, and constant before the first and after the last.

    Attributes:
        scores: Cosine similarities at the knots, ascending, `(K,)`.
        evidence: Of each.
    """

    scores: tuple[float, ...]
    evidence: tuple[float, ...]

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The evidence of scores of any shape."""
        return np.asarray(np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.evidence))

    def least_score(self, evidence: float) -> float:
        """The least score with so much evidence; infinity if none has."""
        if evidence <= self.evidence[0]:
            return -1.0
        above = int(np.searchsorted(self.evidence, evidence, side="left"))
        if above == len(self.evidence):
            return float("inf")
        (low, high), (first, last) = self.evidence[above - 1 : above + 1], self.scores[above - 1 : above + 1]
        return float(first + (last - first) * (evidence - low) / (high - low))


@dataclass(frozen=True)
class CalibrationErrors:
    """Errors of probabilities.

    Attributes:
        ece: Expected calibration error, see `expected_calibration_error`.
        brier: Mean squared difference of probability and truth.
        cllr: Cost of the log-likelihood ratio, see `cost_of_evidence`; 0 says everything, 1 nothing. NaN for pairs that
            were chosen by their scores.
        share: Of the pairs that show one vehicle, after weighting.
        pairs: Their number.
    """

    ece: float
    brier: float
    cllr: float
    share: float
    pairs: int


@dataclass(frozen=True)
class Fit:
    """Origin of a calibration, and how good it is.

    Attributes:
        kind: How it was fitted.
        source: What it was fitted to.
        vehicles: Their number.
        images: Of these vehicles.
        same: Number of pairs of one vehicle.
        different: Number of pairs of two.
        matches: Images of the same vehicle that an image has to find, on average.
        errors: Of either kind on vehicles that it was not fitted to, at even odds: each half by the other half. Empty
            if there were too few for two halves.
    """

    kind: Kind
    source: Source
    vehicles: int
    images: int
    same: int
    different: int
    matches: float
    errors: dict[str, CalibrationErrors]


@dataclass(frozen=True)
class Calibration:
    """Evidence of scores of one model, fitted to pairs of images of known vehicles.

    A probability needs two things: the evidence of the score, which this record has, and the prior, the share of
    pairs that are right among those that are looked at, which only the one who looks can know. By Bayes' rule
    log-odds = evidence + log-odds of the prior.

    Attributes:
        curve: For a pair of which nothing is known.
        by_domains: By the domains of a pair's images, `"day day"`, `"day night"` or `"night night"`, where enough pairs
            of this kind were there.
        fit: Where it is from.
    """

    curve: EvidenceCurve
    by_domains: dict[str, EvidenceCurve]
    fit: Fit

    def evidence(self, scores: ArrayLike, one: Domains = "", other: Domains = "") -> NDArray[np.float64]:
        """Evidence of the scores of pairs.

        Args:
            scores: Cosine similarities of any shape.
            one: Domain of one image of each pair, `"day"` or `"night"`, "" if unknown; for all pairs, or an array that
                broadcasts with the scores.
            other: Of the other image.
        """
        values = np.asarray(scores, dtype=np.float64)
        first, second = np.asarray(one, dtype=object), np.asarray(other, dtype=object)
        evidence = self.curve(values)
        for kind, curve in self.by_domains.items():
            left, right = kind.split()
            of_kind = ((first == left) & (second == right)) | ((first == right) & (second == left))
            evidence = np.where(of_kind, curve(values), evidence)
        return evidence

    def probability(
        self, scores: ArrayLike, prior: float = 0.5, one: Domains = "", other: Domains = ""
    ) -> NDArray[np.float64]:
        """Probabilities that pairs show one vehicle.

        Args:
            scores: See `evidence`.
            prior: Share of pairs that do, of those that are looked at.
            one: See `evidence`.
            other: See `evidence`.

        Raises:
            ValueError: If the prior is not above 0 and below 1.
        """
        return from_log_odds(self.evidence(scores, one, other) + log_odds(prior))

    def prior_of(self, gallery: int, given: float | None = None) -> float:
        """Share of right images in a gallery: what is given, else as many as an image had to find in the fit.

        Args:
            gallery: Number of its images.
            given: What the user says.

        Raises:
            ValueError: If what is given is not above 0 and below 1.
        """
        if given is not None:
            log_odds(given)
            return given
        return min(0.5, self.fit.matches / max(1, gallery))

    def least_score(self, probability: float, prior: float = 0.5) -> float:
        """The least score of a pair of which nothing else is known whose probability is at least this one.

        Raises:
            ValueError: If prior or probability is not above 0 and below 1.
        """
        return self.curve.least_score(log_odds(probability, "probability") - log_odds(prior))


def log_odds(probability: float, name: str = "prior") -> float:
    """Ln p / (1 − p).

    Raises:
        ValueError: If it is not above 0 and below 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"{name} is {probability}, expected a number above 0 and below 1.")
    return float(np.log(probability) - np.log1p(-probability))


def from_log_odds(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of log-odds; never quite 0 or 1, as no calibration can know that."""
    return np.asarray(np.clip(1 / (1 + np.exp(-np.clip(value, -700, 700))), _ENDS, 1 - _ENDS))


def pair_kind(one: str, other: str) -> str:
    """Name of a pair of domains, whichever comes first."""
    return " ".join(sorted((one, other)))
