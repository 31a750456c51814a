"""Steps that change features."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from src.retrieval.distances.feature_distance import Metric, as_euclidean
from src.retrieval.query_expansion import alpha_query_expansion, dbscan_query_expansion, group_queries
from src.retrieval.steps.state import State
from src.retrieval.steps.step import Step, weights_of
from src.retrieval.track_features import average_track_features, weighted_track_features
from src.runtime.ranges import NotNegative, Positive

Kind = Literal["average", "weighted"]


@dataclass(frozen=True)
class _JoinFeatures(Step):
    """Makes one feature of those of several models."""

    weights: Sequence[NotNegative] | None = None

    @abstractmethod
    def join(self, features: Sequence[Tensor]) -> Tensor:
        """The models' features, weighted, as one."""

    def run(self, states: list[State]) -> list[State]:
        """See `Step`."""
        for state in states:
            self.need_features(state)
        weights = weights_of(self, self.weights, len(states))
        features = [state.features * weight for state, weight in zip(states, weights, strict=True)]
        return [self.apply(replace(states[0], features=self.join(features)))]

    def apply(self, state: State) -> State:
        """See `Step`."""
        return replace(state, features=F.normalize(state.features))


@dataclass(frozen=True)
class Concatenate(_JoinFeatures):
    """Joins the features of several models, each multiplied by its weight, into one (VehicleNet, Section IV-C).

    Squared distances add up with squared weights.
    """

    name = "concatenate"

    def join(self, features: Sequence[Tensor]) -> Tensor:
        """See `_JoinFeatures`."""
        return torch.cat([*features], dim=1)


@dataclass(frozen=True)
class Average(_JoinFeatures):
    """Takes the mean of one model's features of several looks at the images: whole and cropped (VehicleNet, IV-C).

    With `looks` there are several models, so many looks of each one after the other.
    """

    name = "average"
    looks: Positive | None = None

    def run(self, states: list[State]) -> list[State]:
        """See `Step`."""
        looks = len(states) if self.looks is None else self.looks
        if looks < 1 or len(states) % looks:
            raise self.refusal(f"takes {looks} looks of each model, but there are {len(states)} embeddings in all.")
        groups = [states[first : first + looks] for first in range(0, len(states), looks)]
        return [joined for group in groups for joined in super(Average, self).run(group)]

    def join(self, features: Sequence[Tensor]) -> Tensor:
        """See `_JoinFeatures`."""
        lengths = sorted({feature.shape[1] for feature in features})
        if len(lengths) > 1:
            raise self.refusal(f"needs features of one model, but they have {lengths} dimensions; use concatenate.")
        return torch.stack([*features]).sum(dim=0)


@dataclass(frozen=True)
class CameraMeans(Step):
    """Takes from every feature the mean of its camera's images, queries and gallery together.

    What a camera's place and light put into all its images tells no vehicles apart, and is nearer to nothing in another
    camera. The mean alone of what Zhuang et al., "Rethinking the Distribution Gap of Person Re-identification with
    Camera-based Batch Normalization", ECCV 2020, do to all layers. It needs many images of each camera, no identity.
    """

    name = "camera_means"

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_features(state)
        self.need_columns(state, "camera_id")
        if state.context.rehearsal:
            return state
        cameras, codes = np.unique(state.records["camera_id"].to_numpy(), return_inverse=True)
        of_camera = F.one_hot(torch.from_numpy(codes), len(cameras)).to(state.features)
        means = (of_camera / of_camera.sum(dim=0)).T @ state.features
        return replace(state, features=F.normalize(state.features - of_camera @ means))


@dataclass(frozen=True)
class QueryExpansion(Step):
    """Adds each query's `n` nearest gallery features to it; see `alpha_query_expansion`."""

    name = "query_expansion"
    n: Positive = 5
    alpha: NotNegative = 3.0

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_features(state)
        if state.context.rehearsal:
            return state
        return state.with_query(alpha_query_expansion(state.query, state.gallery, self.n, self.alpha))


@dataclass(frozen=True)
class DBSCANExpansion(Step):
    """Replaces a query by the mean of the other queries in its DBSCAN cluster; see `dbscan_query_expansion`."""

    name = "dbscan_expansion"
    eps: NotNegative | None = None
    min_samples: Positive = 2
    include_self: bool = False
    metric: Metric = "euclidean"

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_features(state)
        eps = as_euclidean(self.given("eps"), self.metric)
        if state.context.rehearsal:
            return state
        return state.with_query(
            dbscan_query_expansion(state.query, eps, min_samples=self.min_samples, include_self=self.include_self)[0]
        )


@dataclass(frozen=True)
class QueryGroups(Step):
    """Gives queries closer than θ their mean feature; see `group_queries`."""

    name = "query_groups"
    theta: NotNegative | None = None
    metric: Metric = "euclidean"

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_features(state)
        theta = as_euclidean(self.given("theta"), self.metric)
        return state if state.context.rehearsal else state.with_query(group_queries(state.query, theta)[0])


@dataclass(frozen=True)
class TrackFeatures(Step):
    """Makes the gallery's tracks its entries, with average (AF) or weighted (WF) features.

    An image without a track is one of its own. The record of a track is that of its first image.
    """

    name = "track_features"
    kind: Kind = "weighted"
    threshold: NotNegative = 0.2
    metric: Metric = "euclidean"

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_features(state)
        if self.kind not in get_args(Kind):
            raise self.refusal(f"has kind {self.kind!r}, expected one of {', '.join(get_args(Kind))}.")
        owner = self.tracks(state)
        if self.kind == "average":
            features = average_track_features(state.gallery, owner)
        else:
            threshold = as_euclidean(self.threshold, self.metric)
            features = weighted_track_features(state.query, state.gallery, owner, threshold=threshold)
        first = np.unique(owner, return_index=True)[1]
        records = pd.concat([state.query_records, state.gallery_records.iloc[first]])
        return replace(state, features=torch.cat([state.query, features]), records=records, images=state)
