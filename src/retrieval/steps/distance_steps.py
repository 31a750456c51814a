"""Steps that add to distances, re-rank them, or take entries out of a query's list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from src.retrieval.distances.k_reciprocal import KReciprocalDistance
from src.retrieval.distances.spatio_temporal import (
    AtZero,
    Density,
    Falling,
    SpatioTemporalTerm,
    TripModel,
    camera_rows,
)
from src.retrieval.distances.spatio_temporal import Part as Half
from src.retrieval.distances.spatio_temporal_relation import SpatioTemporalRelation
from src.retrieval.distances.terms import Mismatch, SameGroupFilter, Sum, Term, TimeFilter
from src.retrieval.embeddings import read_embeddings
from src.retrieval.relevance import Integers
from src.retrieval.steps.state import Scale, State
from src.retrieval.steps.step import Step, add_filter, add_term, weights_of
from src.runtime.ranges import AboveZero, AtLeast, NotNegative, Positive, Share

_TABLE = "table"  # as the source of labels: the data set's own


@dataclass(frozen=True)
class _Trips(Step):
    """A step that looks at the trips between sightings."""

    def rows_of(self, records: pd.DataFrame, roads: pd.DataFrame | None, instead: str) -> Integers:
        """Row of each record's camera in the matrix of road distances; `instead` is what to do if one has none."""
        rows = camera_rows(records["camera_id"], roads)
        if (rows < 0).any():
            unknown = sorted(set(records["camera_id"].to_numpy()[rows < 0].tolist()))
            raise self.refusal(f"knows no road distances of the cameras {unknown}; {instead}.")
        return rows


@dataclass(frozen=True)
class SpatioTemporal(_Trips):
    """Adds ω · (D_s + D_t) of DFR-ST, fitted on the training images; see `SpatioTemporalTerm` and `Falling`."""

    name = "spatio_temporal"
    omega: NotNegative = 0.2
    spatial_slope: float = 6.0
    spatial_shift: float = 0.5
    temporal_slope: float = 6.0
    temporal_shift: float = 0.5
    density: Density = "mode"
    at_zero: AtZero = "vanish"
    parts: Sequence[Half] = ("spatial", "temporal")
    metric: Scale = "euclidean"

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_scale(state, self.metric)
        self.need_columns(state, "camera_id", "timestamp")
        instead = "pass parts=[temporal]"
        roads = state.context.camera_distances if "spatial" in self.parts else None
        if "spatial" in self.parts and roads is None:
            raise self.refusal(f"knows no road distances between this data set's cameras; {instead}.")
        self.rows_of(state.records, roads, instead)  # before the fit, so that an unknown camera is named
        train = state.context.train
        model = None if train is None else TripModel.fit_records(train, roads)
        model = model or state.context.trips
        if model is None:
            raise self.refusal("is fitted on training images with camera and time, and there are none or too few.")

        def term(rows: pd.DataFrame, columns: pd.DataFrame) -> Term:
            return SpatioTemporalTerm(
                (self.rows_of(rows, roads, instead), self.rows_of(columns, roads, instead)),
                (rows["timestamp"], columns["timestamp"]),
                model,
                None if roads is None else roads.to_numpy(),
                state.device,
                spatial=Falling(self.spatial_slope, self.spatial_shift),
                temporal=Falling(self.temporal_slope, self.temporal_shift),
                density=self.density,
                at_zero=self.at_zero,
                parts=tuple(self.parts),
            )

        return add_term(state, term, self.omega)


@dataclass(frozen=True)
class Relation(_Trips):
    """Adds ω · STR of VeRi's authors, the baseline in Table IV of DFR-ST; see `SpatioTemporalRelation`.

    The longest time is that between any two of the ranked images, the longest road that between any two cameras.
    """

    name = "spatio_temporal_relation"
    omega: NotNegative = 0.2
    metric: Scale = "euclidean"

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_scale(state, self.metric)
        self.need_columns(state, "camera_id", "timestamp")
        roads = state.context.camera_distances
        if roads is None:
            raise self.refusal("knows no road distances between this data set's cameras, which it multiplies by.")
        times = state.records["timestamp"]
        longest = float(times.max() - times.min())

        instead = "add them to the data set"

        def term(rows: pd.DataFrame, columns: pd.DataFrame) -> Term:
            return SpatioTemporalRelation(
                (self.rows_of(rows, roads, instead), self.rows_of(columns, roads, instead)),
                (rows["timestamp"], columns["timestamp"]),
                roads.to_numpy(),
                longest,
                state.device,
            )

        return add_term(state, term, self.omega)


@dataclass(frozen=True)
class AttributeConstraint(Step):
    """Adds δ_t where the types differ and δ_c where the colours do (attribute-guided network, Eq. 6).

    `labels` is a CSV file with the columns path, colour and type, as a classifier makes it, or `"table"` for the data
    set's own labels, which a real gallery does not have. An unknown label matches everything.
    """

    name = "attribute_constraint"
    labels: str | None = None
    delta_type: NotNegative | None = None
    delta_colour: NotNegative | None = None
    metric: Scale = "euclidean"

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_scale(state, self.metric)
        names = self._names(state)
        for column, weight in (("type", self.given("delta_type")), ("colour", self.given("delta_colour"))):
            codes = pd.factorize(names[column], use_na_sentinel=True)[0]
            of = pd.Series(codes, index=state.records.index).groupby(level=0).first()
            term = partial(_mismatch, of=of, weight=weight, state=state)
            state = add_term(state, term)
        return state

    def _names(self, state: State) -> pd.DataFrame:
        """Colour and type of each record, NA where unknown."""
        source = self.labels
        if source is None:
            raise self.refusal(
                "needs retrieval.attribute_constraint.labels, a CSV file as src.label writes it, or 'table' for the "
                "colours and types that the data set gives."
            )
        if source == _TABLE:
            return state.records[["colour", "type"]].replace("", pd.NA)
        if not Path(source).is_file():
            raise self.refusal(f"has labels={source}, which is no file; expected a CSV with path, colour and type.")
        labels = pd.read_csv(source, dtype=str, keep_default_na=False, na_values=[""])  # a type may be called "null"
        if missing := {"path", "colour", "type"} - set(labels):
            raise self.refusal(f"finds no column {sorted(missing)[0]!r} in {source}, only {list(labels)}.")
        if labels["path"].duplicated().any():
            raise self.refusal(f"finds {labels['path'][labels['path'].duplicated()].iloc[0]} in {source} twice.")
        names = labels.set_index("path").reindex(state.records["path"])
        if names[["colour", "type"]].isna().all(axis=None):
            raise self.refusal(f"finds none of the test images in {source}; paths start at the data set's folder.")
        return names


def _mismatch(rows: pd.DataFrame, columns: pd.DataFrame, *, of: pd.Series, weight: float, state: State) -> Term:
    return Mismatch(of[rows.index], of[columns.index], weight, state.device)


@dataclass(frozen=True)
class KReciprocal(Step):
    """k-reciprocal re-ranking, of the sum of all terms before it; see `KReciprocalDistance`."""

    name = "k_reciprocal"
    k1: Positive = 20
    k2: Positive = 6
    lambda_value: Share = 0.3
    max_memory_gb: AboveZero = 8.0

    def apply(self, state: State) -> State:
        """See `Step`."""
        if state.final is not None:
            raise self.refusal("needs distances between all images, but a step before it left those to queries only.")
        if state.context.rehearsal:
            return replace(state, final=replace(state, filters=()).ranking(), scale="reranked")
        final = KReciprocalDistance(
            state.all_pairs(),
            state.n_queries,
            k1=self.k1,
            k2=self.k2,
            lambda_value=self.lambda_value,
            max_memory_gb=self.max_memory_gb,
        )
        return replace(state, final=final, scale="reranked")


@dataclass(frozen=True)
class SumDistances(Step):
    """Adds up the distances of several models, each multiplied by its weight (multi-domain learning's ensemble)."""

    name = "sum_distances"
    weights: Sequence[NotNegative] | None = None

    def run(self, states: list[State]) -> list[State]:
        """See `Step`."""
        if len({len(state.records) for state in states}) > 1:
            raise self.refusal("needs all models to rank the same entries, but some rank tracks and some images.")
        weights = weights_of(self, self.weights, len(states))
        final = Sum([replace(state, filters=()).ranking() for state in states], weights)
        return [replace(states[0], final=final, scale="summed")]

    def apply(self, state: State) -> State:
        """See `Step`."""
        return self.run([state])[0]


@dataclass(frozen=True)
class CameraVerification(Step):
    """Takes images of the query's camera out of its list (VehicleNet, Section IV-C).

    `embeddings` is the folder of a model trained to tell cameras apart; its features of queries and gallery are
    clustered by k-means into `clusters` (as many as there are training cameras). `"table"` takes the known cameras.
    """

    name = "camera_verification"
    embeddings: str | None = None
    clusters: Annotated[int, AtLeast(2)] | None = None

    def apply(self, state: State) -> State:
        """See `Step`."""
        of = pd.Series(self._groups(state), index=state.records.index).groupby(level=0).first()
        return add_filter(state, lambda rows, columns: SameGroupFilter(of[rows.index], of[columns.index], state.device))

    def _groups(self, state: State) -> Integers:
        source = self.embeddings
        if source is None:
            raise self.refusal(
                "needs retrieval.camera_verification.embeddings, the embeddings folder of a camera classifier, or "
                "'table' for the cameras that the data set gives."
            )
        if source == _TABLE:
            self.need_columns(state, "camera_id")
            return state.records["camera_id"].to_numpy()
        from sklearn.cluster import KMeans

        folder = read_embeddings(Path(source))
        if folder.meta.data.fingerprint != state.context.fingerprint:
            raise self.refusal(f"finds the embeddings of other data in {source} ({folder.meta.data.name}).")
        clusters = self.clusters or (0 if state.context.train is None else state.context.train["camera_id"].nunique())
        if clusters < 2 or clusters > len(state.records):
            raise self.refusal(f"makes {clusters} clusters of {len(state.records)} images; set clusters.")
        if state.context.rehearsal:
            return np.zeros(len(state.records), dtype=np.int64)
        features = folder.of(state.records.index.to_numpy()).numpy()
        return KMeans(clusters, n_init=4, random_state=0).fit_predict(features).astype(np.int64)


@dataclass(frozen=True)
class TimeWindow(Step):
    """Takes images seen more than τ before or after the query out of its list (VehicleNet, Section IV-C).

    `tau` is in the data set's own unit of time; VeRi-776 counts frames.
    """

    name = "time_window"
    tau: NotNegative | None = None

    def apply(self, state: State) -> State:
        """See `Step`."""
        tau = self.given("tau")
        self.need_columns(state, "timestamp")
        return add_filter(
            state, lambda rows, columns: TimeFilter(rows["timestamp"], columns["timestamp"], tau, state.device)
        )
