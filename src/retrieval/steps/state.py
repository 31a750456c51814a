"""A retrieval task on its way through post-processing."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from src.retrieval.distances.feature_distance import Distance, FeatureDistance, Metric, PairDistance
from src.retrieval.distances.spatio_temporal import TripModel
from src.retrieval.distances.terms import Part, Sum
from src.retrieval.relevance import Integers

#: What the distances of a state are: a metric of features, or what re-ranking, summing or reordering made of them.
Scale = Metric | Literal["reranked", "summed", "places"]


@dataclass(frozen=True)
class Context:
    """Knowledge of steps beside the images at hand.

    Attributes:
        train: Records of the training images.
        camera_distances: Road distances, index and columns the cameras' numbers.
        trips: What the trips of the model's own training images looked like, for data without any.
        fingerprint: Of the data set.
        rehearsal: Whether steps only look whether they can be taken: the features mean nothing, and what takes time is
            left out.
    """

    train: pd.DataFrame | None = None
    camera_distances: pd.DataFrame | None = None
    trips: TripModel | None = None
    fingerprint: str = ""
    rehearsal: bool = False


@dataclass(frozen=True)
class State:
    """Queries and gallery, and how far they are from each other.

    First there are only features. A distance term makes distances between all images, so that re-ranking can use
    them; re-ranking leaves distances from queries to gallery.

    Attributes:
        features: L2-normalised `(N, D)`, the queries' first.
        records: A row of the record table for each, in the same order; the index holds the rows' numbers.
        n_queries: How many are queries.
        scale: What the distances are.
        everything: Distance of all N to all N; None while there are only features.
        final: Distance from queries to gallery; None before re-ranking.
        filters: Infinite where an entry is out of a query's list, queries × gallery.
        images: The state whose gallery was joined into tracks; None while the gallery holds images.
        context: What else is known.
    """

    features: Tensor
    records: pd.DataFrame
    n_queries: int
    scale: Scale = "euclidean"
    everything: PairDistance | None = None
    final: Distance | None = None
    filters: tuple[Distance, ...] = ()
    images: "State | None" = None
    context: Context = field(default_factory=Context)

    @property
    def query(self) -> Tensor:
        """Features of the queries, `(Q, D)`."""
        return self.features[: self.n_queries]

    @property
    def gallery(self) -> Tensor:
        """Features of the gallery, `(G, D)`."""
        return self.features[self.n_queries :]

    @property
    def query_records(self) -> pd.DataFrame:
        """Records of the queries."""
        return self.records.iloc[: self.n_queries]

    @property
    def gallery_records(self) -> pd.DataFrame:
        """Records of the gallery."""
        return self.records.iloc[self.n_queries :]

    @property
    def device(self) -> torch.device:
        """Device of features and distances."""
        return self.features.device

    def with_query(self, query: Tensor) -> "State":
        """The state with other query features."""
        return replace(self, features=torch.cat([query, self.gallery]))

    def all_pairs(self) -> PairDistance:
        """The distance of all images to all."""
        return self.everything or FeatureDistance(self.features, self.features, self._metric())

    def ranking(self) -> Distance:
        """The distance from queries to gallery, filters applied."""
        distance = self.final
        if distance is None:
            if self.everything is None:
                distance = FeatureDistance(self.query, self.gallery, self._metric())
            else:
                distance = Part(self.everything, self.n_queries)
        return Sum([distance, *self.filters]) if self.filters else distance

    def _metric(self) -> Metric:
        scale: Any = self.scale
        return scale


def start(
    features: Tensor,
    table: pd.DataFrame,
    query: Integers,
    gallery: Integers,
    *,
    metric: Metric = "euclidean",
    context: Context | None = None,
) -> State:
    """The state before any step.

    Args:
        features: L2-normalised, of the queries, then of the gallery.
        table: The record table.
        query: Rows of the queries.
        gallery: Rows of the gallery.
        metric: What distances shall be.
        context: What else is known.
    """
    records = pd.concat([table.iloc[query], table.iloc[gallery]])
    return State(features, records, len(query), metric, context=context or Context())
