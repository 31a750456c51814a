"""The numbers of a retrieval task, one set a query and their means."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from src.retrieval.relevance import Integers

AP = Literal["standard", "trapezoid"]
FilterCounts = Literal["miss", "drop"]
MISSED = int(np.iinfo(np.int64).max)  # the rank of a positive that a filter took out of the list
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RetrievalResult:
    """Numbers of every query.

    Queries without any positive left in the gallery are not `valid`: their numbers are NaN (`first_hit` 0) and they
    stay out of all means.

    Attributes:
        ap: Average precision of each query, `(Q,)`.
        first_hit: 1-based rank of each query's first positive, `(Q,)`; `MISSED` if a filter took all of them.
        inp: Inverse negative penalty of each query, positives / rank of the last positive, `(Q,)` (Ye et al.,
            Deep Learning for Person Re-identification, 2021, Eq. 14).
        n_positives: Number of each query's positives, `(Q,)`.
        n_gallery: Number of gallery entries.
        ties: Number of (positive, non-positive) pairs at exactly the same distance, ranked in gallery order.
        filtered: Number of positives that a filter (camera, time) took out of the lists.
        filter_counts: Whether those count as missed (`"miss"`) or left the denominator (`"drop"`).
        ap_kind: `"standard"` (mean precision at the positives) or `"trapezoid"` (area under the interpolated
            precision-recall curve, the Oxford Buildings code that VeRi-776's and Market-1501's use).
        indices: The nearest gallery entries of each query, `(Q, k)`, −1 where there are fewer than k.
        distances: Their distances, `(Q, k)`.
    """

    ap: Floats
    first_hit: Integers
    inp: Floats
    n_positives: Integers
    n_gallery: int
    ties: int
    filtered: int
    filter_counts: FilterCounts
    ap_kind: AP
    indices: Integers
    distances: NDArray[np.float32]

    @classmethod
    def from_ranks(
        cls,
        ranks: Integers,
        n_positives: Integers,
        *,
        n_gallery: int,
        ties: int = 0,
        filter_counts: FilterCounts = "miss",
        ap: AP = "standard",
        indices: Integers | None = None,
        distances: NDArray[np.float32] | None = None,
    ) -> "RetrievalResult":
        """Computes the metrics from the rank of every positive.

        Args:
            ranks: 1-based ranks, query after query, ascending within each; `MISSED` for filtered positives.
            n_positives: How many of them belong to each query, `(Q,)`.
            n_gallery: Number of gallery entries.
            ties: Number of (positive, non-positive) pairs at the same distance.
            filter_counts: `"miss"` leaves filtered positives in the denominator, `"drop"` takes them out.
            ap: How precision is averaged.
            indices: The nearest entries of each query, `(Q, k)`.
            distances: Their distances, `(Q, k)`.

        Raises:
            ValueError: If `ap` or `filter_counts` is unknown.
        """
        if ap not in get_args(AP):
            raise ValueError(f"ap is {ap!r}, expected one of {', '.join(get_args(AP))}.")
        if filter_counts not in get_args(FilterCounts):
            raise ValueError(
                f"filter_counts is {filter_counts!r}, expected one of {', '.join(get_args(FilterCounts))}."
            )
        n_queries = len(n_positives)
        query = np.repeat(np.arange(n_queries), n_positives)
        missed = ranks == MISSED
        filtered = int(missed.sum())
        if filter_counts == "drop":
            n_positives = np.bincount(query[~missed], minlength=n_queries)
            query, ranks, missed = query[~missed], ranks[~missed], missed[~missed]
        last = np.cumsum(n_positives)
        hits = np.arange(1, len(ranks) + 1) - (last - n_positives)[query]
        precision = hits / ranks
        if ap == "trapezoid":
            before = np.divide(hits - 1, ranks - 1, out=np.ones(len(ranks)), where=ranks > 1)
            precision = (precision + before) / 2
        precision[missed] = 0
        valid = n_positives > 0
        count = n_positives[valid]
        average, inp = np.full(n_queries, np.nan), np.full(n_queries, np.nan)
        average[valid] = np.bincount(query, weights=precision, minlength=n_queries)[valid] / count
        inp[valid] = np.where(missed[last[valid] - 1], 0, count / ranks[last[valid] - 1])
        first_hit = np.zeros(n_queries, dtype=np.int64)
        first_hit[valid] = ranks[last[valid] - count]
        return cls(
            ap=average,
            first_hit=first_hit,
            inp=inp,
            n_positives=n_positives,
            n_gallery=n_gallery,
            ties=ties,
            filtered=filtered,
            filter_counts=filter_counts,
            ap_kind=ap,
            indices=np.empty((n_queries, 0), dtype=np.int64) if indices is None else indices,
            distances=np.empty((n_queries, 0), dtype=np.float32) if distances is None else distances,
        )

    @classmethod
    def interleaved(cls, parts: Sequence["RetrievalResult"]) -> "RetrievalResult":
        """The result for all queries, from n parts: the first has queries 0, n, 2n …, the next 1, n + 1 … of them.

        Args:
            parts: Measured in the same gallery, in the same way.
        """

        def woven(name: str) -> NDArray[Any]:
            values = [getattr(part, name) for part in parts]
            whole = np.empty((sum(map(len, values)), *values[0].shape[1:]), dtype=values[0].dtype)
            for place, value in enumerate(values):
                if len(value):  # of few queries some processes have none
                    whole[place :: len(parts)] = value
            return whole

        return replace(
            parts[0],
            ap=woven("ap"),
            first_hit=woven("first_hit"),
            inp=woven("inp"),
            n_positives=woven("n_positives"),
            indices=woven("indices"),
            distances=woven("distances"),
            ties=sum(part.ties for part in parts),
            filtered=sum(part.filtered for part in parts),
        )

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Mask of the queries that have a positive, `(Q,)`."""
        return self.n_positives > 0

    @property
    def mAP(self) -> float:
        """Mean average precision over the valid queries; NaN if there are none."""
        return _mean(self.ap[self.valid])

    @property
    def mINP(self) -> float:
        """Mean inverse negative penalty over the valid queries; NaN if there are none."""
        return _mean(self.inp[self.valid])

    def cmc(self, k: int) -> float:
        """Share of the valid queries with a positive among their first `k` entries; NaN if there are none."""
        if k < 1:
            raise ValueError(f"k is {k}, expected a rank of at least 1.")
        return _mean(self.first_hit[self.valid] <= k)

    def summary(self, ranks: Sequence[int] = (1, 5, 10, 20)) -> dict[str, Any]:
        """The means and counts of the task, ready for JSON."""
        return {
            "mAP": self.mAP,
            "mINP": self.mINP,
            "rank": {str(k): self.cmc(k) for k in ranks},
            "queries": len(self.ap),
            "gallery": self.n_gallery,
            "skipped": int(np.count_nonzero(~self.valid)),
            "ties": self.ties,
            "filtered": self.filtered,
            "filter_counts": self.filter_counts,
            "ap": self.ap_kind,
        }


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) > 0 else float("nan")
