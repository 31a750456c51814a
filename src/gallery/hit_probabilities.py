"""Probabilities of what a search has found, and whether the vehicle is in the gallery at all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from src.embed import Embedder
from src.gallery.gallery import Gallery, Hit
from src.retrieval.probabilities.calibration import Calibration

H = TypeVar("H", bound=Hit)


@dataclass(frozen=True)
class Judge:
    """What scores say in a gallery.

    Attributes:
        gallery: Whose images were found.
        calibration: Of its checkpoint.
        prior: Share of its images that show the query's vehicle.
    """

    gallery: Gallery
    calibration: Calibration
    prior: float

    @classmethod
    def of(cls, gallery: Gallery, embedder: Embedder, prior: float | None) -> Self | None:
        """For a gallery and its checkpoint; None for one without a calibration.

        Raises:
            ValueError: If the prior is not above 0 and below 1.
        """
        calibration = embedder.calibration
        return None if calibration is None else cls(gallery, calibration, calibration.prior_of(len(gallery), prior))

    def judged(self, hits: Sequence[H], domain: str | None, picture: NDArray[np.float32] | None = None) -> list[H]:
        """The hits of one query with their probabilities.

        Args:
            hits: In any order.
            domain: Of the query; None if unknown.
            picture: Embedding `(D,)` of the query's picture, for hits with scores of something else: a probability is
                of two pictures, this one and that of the hit's row.
        """
        rows = [hit.row for hit in hits]
        others = self.gallery.table["domain"].to_numpy(dtype=object)[rows]
        scores = np.array([hit.score for hit in hits]) if picture is None else self.gallery.features[rows] @ picture
        said = self.calibration.probability(scores, self.prior, domain or "", others)
        return [replace(hit, probability=value) for hit, value in zip(hits, said.tolist(), strict=True)]

    @property
    def sentence(self) -> str:
        """What the probabilities are for."""
        fit, count = self.calibration.fit, len(self.gallery)
        sure = "; too sure of themselves, as these were trained on" if fit.source == "trained on" else ""
        return (
            f"Probabilities are for a vehicle with {self.prior * count:,.3g} of the gallery's {count:,} images "
            f"(prior={self.prior:.2g}), fitted to {fit.vehicles} vehicles {fit.source}{sure}."
        )


def at_least(hits: Sequence[H], probability: float) -> list[H]:
    """The hits that are so probable; all whose probability is unknown."""
    return [hit for hit in hits if hit.probability is None or hit.probability >= probability]


def not_in_gallery(hits: Sequence[Hit]) -> bool | None:
    """Whether the nearest image shows another vehicle more likely than not; None if probabilities are unknown."""
    said = [hit.probability for hit in hits if hit.probability is not None]
    return max(said) < 0.5 if said else None
