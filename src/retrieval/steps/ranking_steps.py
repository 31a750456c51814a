"""Steps that change the order of a list."""

from dataclasses import dataclass, replace

import pandas as pd
import torch

from src.retrieval.distances.feature_distance import FeatureDistance
from src.retrieval.reordering import ExpandedTracks, GroupReranking
from src.retrieval.steps.state import Scale, State
from src.retrieval.steps.step import Step
from src.runtime.ranges import NotNegative


@dataclass(frozen=True)
class ExpandTracks(Step):
    """Ranks the images of the ranked tracks: track after track, the image nearest to the query first."""

    name = "expand_tracks"

    def apply(self, state: State) -> State:
        """See `Step`."""
        if state.images is None:
            raise self.refusal("expands tracks into images, but no track_features stands before it.")
        gallery = state.images.gallery
        final = ExpandedTracks(state.ranking(), FeatureDistance(state.query, gallery), self.tracks(state.images))
        return replace(
            state,
            features=torch.cat([state.query, gallery]),
            records=pd.concat([state.query_records, state.images.gallery_records]),
            everything=None,
            final=final,
            filters=(),
            images=None,
            scale="places",
        )


@dataclass(frozen=True)
class GroupReranked(Step):
    """Inserts the rest of a track behind its first image, if that is nearer than θ; see `GroupReranking`."""

    name = "group_reranking"
    theta: NotNegative | None = None
    metric: Scale = "euclidean"

    def apply(self, state: State) -> State:
        """See `Step`."""
        self.need_scale(state, self.metric)
        final = GroupReranking(state.ranking(), self.tracks(state), self.given("theta"))
        return replace(state, everything=None, final=final, filters=(), scale="places")
