"""Post-processing without features: whether its steps can be taken, before anything is embedded."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from src.data import Task, training_records
from src.retrieval import Context, StepError, TripModel, make_steps, start, take


def rehearse(
    options: Mapping[str, Any],
    tasks: Sequence[Task],
    table: pd.DataFrame,
    camera_distances: pd.DataFrame | None,
    trips: TripModel | None,
    fingerprint: str,
    models: int = 1,
) -> None:
    """Refuses steps that lack an option, or something of the data, or that cannot come where they stand.

    Args:
        options: The node `retrieval` of a configuration.
        tasks: What is to be measured.
        table: The record table.
        camera_distances: Road distances, if the data set has some.
        trips: What is known of trips beside the table's own.
        fingerprint: Of the data set.
        models: How many models there will be.

    Raises:
        StepError: Names the step and what it lacks.
    """
    steps = make_steps(options["steps"], options)
    if not steps:
        return
    context = Context(training_records(table), camera_distances, trips, fingerprint, rehearsal=True)
    for task in tasks:
        trial = task.trials[0]
        nothing = torch.zeros(len(trial.query) + len(trial.gallery), 1)
        state = start(nothing, table, trial.query, trial.gallery, metric=options["metric"], context=context)
        taken = take([state] * models, steps)
        taken.ranking()
        if taken.images is not None and task.protocol.gallery_unit != "track":
            raise StepError(
                f"retrieval.steps leaves tracks in the gallery, but task {task.name!r} ranks images; add expand_tracks."
            )
