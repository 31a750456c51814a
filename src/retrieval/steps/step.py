"""The step, base of all post-processing."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from src.retrieval.distances.terms import Sum, Term
from src.retrieval.relevance import Integers
from src.retrieval.steps.state import Scale, State
from src.retrieval.track_features import track_numbers


class StepError(ValueError):
    """A step that cannot be taken; the message is one sentence for the user."""


@dataclass(frozen=True)
class Step(ABC):
    """One step of post-processing; its attributes are its options."""

    name: ClassVar[str]

    def run(self, states: list[State]) -> list[State]:
        """The states after the step: one for each model, until their features or distances are joined."""
        return [self.apply(state) for state in states]

    @abstractmethod
    def apply(self, state: State) -> State:
        """One state after the step.

        Raises:
            StepError: If the step cannot come here, or an option or label is missing.
        """

    def refusal(self, reason: str) -> StepError:
        """The error that this step cannot be taken for some reason."""
        return StepError(f"retrieval.steps: {self.name} {reason}")

    def given(self, option: str) -> Any:
        """An option that has no default because its paper gives none."""
        value = getattr(self, option)
        if value is None:
            raise self.refusal(
                f"needs retrieval.{self.name}.{option}, for which its paper gives no value; "
                "scripts/tune_postprocessing.py finds one on training images."
            )
        return value

    def need_features(self, state: State) -> None:
        """Refuses a state that has distances already."""
        if state.everything is not None or state.final is not None:
            raise self.refusal("changes features, but a step before it has already made distances; put it first.")
        if state.filters:
            raise self.refusal("changes features, but a filter stands before it; put it first.")

    def need_scale(self, state: State, metric: Scale) -> None:
        """Refuses distances in which an option has no meaning."""
        if state.scale != metric:
            raise self.refusal(
                f"has a weight or threshold for {metric} distances, but they are {state.scale} at its place; set "
                f"retrieval.{self.name}.metric={state.scale} and a value that fits, or change the order."
            )

    def need_columns(self, state: State, *columns: str) -> None:
        """Refuses records that lack a camera, time or track."""
        for column in columns:
            values = state.records[column]
            missing = int((values.isna() if values.dtype.kind == "f" else values < 0).sum())
            if missing:
                raise self.refusal(f"needs a {column} for each test image, and {missing} of {len(values)} have none.")

    def tracks(self, state: State) -> Integers:
        """Track of each gallery image, consecutive numbers from 0."""
        if state.images is not None:
            raise self.refusal("needs a gallery of images, but a step before it has joined them into tracks.")
        tracks = state.gallery_records["track_id"].to_numpy()
        if (tracks < 0).all():
            raise self.refusal("needs the tracks of the gallery's images, and none is known.")
        return track_numbers(tracks)


def add_term(state: State, term: Callable[[pd.DataFrame, pd.DataFrame], Term], weight: float = 1) -> State:
    """Adds a distance term: between all images while that is possible, else from queries to gallery."""
    if state.final is None:
        everything = Sum([state.all_pairs(), term(state.records, state.records)], [1, weight])
        return replace(state, everything=everything)
    return replace(state, final=Sum([state.final, term(state.query_records, state.gallery_records)], [1, weight]))


def add_filter(state: State, hidden: Callable[[pd.DataFrame, pd.DataFrame], Term]) -> State:
    """Adds a filter, which acts on the final list wherever it stands."""
    return replace(state, filters=(*state.filters, hidden(state.query_records, state.gallery_records)))


def weights_of(step: Step, weights: Sequence[float] | None, count: int) -> Sequence[float]:
    """One weight a model; all 1 if none are given."""
    if weights is None:
        return np.ones(count).tolist()
    if len(weights) != count or min(weights) < 0 or sum(weights) == 0:
        raise step.refusal(f"has the weights {list(weights)} for {count} models; give each one, none negative.")
    return weights
