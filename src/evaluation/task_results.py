"""Retrieval tasks evaluated over embeddings, with or without post-processing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.data import Task, Trial, known, training_records
from src.evaluation.metrics_record import Group, Scores, TaskRecord, Trials
from src.retrieval import (
    Context,
    Distance,
    Embeddings,
    FilterCounts,
    Metric,
    Relevance,
    RetrievalResult,
    State,
    Step,
    StepError,
    TrackDistance,
    VerificationResult,
    evaluate_distance,
    label_of_track,
    same_images,
    start,
    take,
    verify,
)
from src.runtime.errors import ConfigError

RANKS = (1, 5, 10, 20)


@dataclass(frozen=True)
class TaskResult:
    """Results of one task, with the protocol that produced them.

    Attributes:
        task: The task.
        trials: One result a trial.
        verification: Of the first trial, if asked for.
    """

    task: Task
    trials: tuple[RetrievalResult, ...]
    verification: VerificationResult | None = None

    @property
    def mean_ap(self) -> float:
        """Mean average precision, averaged over the trials."""
        return float(np.mean([trial.mAP for trial in self.trials]))

    def rank(self, k: int) -> float:
        """Share of queries with a match among the first k, averaged over the trials."""
        return float(np.mean([trial.cmc(k) for trial in self.trials]))

    def breakdowns(self, table: pd.DataFrame) -> dict[str, dict[str, Group]]:
        """The queries of each camera, domain, colour and type, over all trials, where known and different.

        Args:
            table: The record table.
        """
        queries = np.concatenate([trial.query for trial in self.task.trials])
        valid = np.concatenate([trial.valid for trial in self.trials])
        scores = pd.DataFrame(
            {
                "ap": np.concatenate([trial.ap for trial in self.trials]),
                "first": np.concatenate([trial.first_hit for trial in self.trials]) == 1,
            }
        )
        breakdowns = {}
        for column in ("camera_id", "domain", "colour", "type"):
            values, seen = table[column].to_numpy()[queries], known(table, column)[queries]
            if len(set(values[seen])) > 1:
                counted = scores[seen & valid]
                breakdowns[column] = {
                    str(value): Group(float(group["ap"].mean()), float(group["first"].mean()), len(group))
                    for value, group in counted.groupby(values[seen & valid])
                }
        return breakdowns

    def record(self) -> TaskRecord:
        """Record of the task, for `metrics.json`."""
        first = self.trials[0]
        return TaskRecord(
            mAP=self.mean_ap,
            mINP=float(np.mean([trial.mINP for trial in self.trials])),
            rank={k: self.rank(k) for k in RANKS},
            queries=len(first.ap),
            gallery=first.n_gallery,
            protocol=self.task.protocol,
            skipped=max(int(np.count_nonzero(~trial.valid)) for trial in self.trials),
            ties=max(trial.ties for trial in self.trials),
            filtered=max(trial.filtered for trial in self.trials),
            filter_counts=first.filter_counts,
            trials=Trials(len(self.trials), self._std()),
        )

    def _std(self) -> Scores:
        """Standard deviation of each mean over the trials."""
        return Scores(
            mAP=float(np.std([trial.mAP for trial in self.trials])),
            mINP=float(np.std([trial.mINP for trial in self.trials])),
            rank={k: float(np.std([trial.cmc(k) for trial in self.trials])) for k in RANKS},
        )


def require_same_images(models: Sequence[Embeddings]) -> None:
    """Refuses to join embeddings of different images, or of the same in another order, which would be nonsense.

    Raises:
        ConfigError: Names the data sets.
    """
    if all(same_images(models[0], model) for model in models[1:]):
        return
    names = ", ".join(f"{model.meta.data.name} {model.meta.data.fingerprint}" for model in models)
    raise ConfigError(
        f"The embeddings are of different images, or of the same in another order ({names}), expected the same for all "
        "models; embed one data set with all of them."
    )


def evaluate_task(
    task: Task,
    models: Sequence[Embeddings],
    steps: Sequence[Step] = (),
    *,
    metric: Metric = "euclidean",
    filter_counts: FilterCounts = "miss",
    top_k: int = 0,
    verification: bool = False,
) -> TaskResult:
    """Evaluates one task.

    Args:
        task: The task, over the table of the embeddings.
        models: Embeddings of the same data by one model or several.
        steps: Post-processing.
        metric: What distances are.
        filter_counts: Whether filtered positives count as missed or leave the denominator.
        top_k: Length of the rank lists to keep.
        verification: Also measure true and false acceptance.

    Raises:
        StepError: If a step cannot be taken.
        ValueError: If an image of the task was not embedded.
    """
    results, verified = [], None
    for trial in task.trials:
        distance, relevance = _trial_distance(task, trial, models, steps, metric)
        results.append(
            evaluate_distance(distance, relevance, ap=task.protocol.ap, filter_counts=filter_counts, top_k=top_k)
        )
        if verification and verified is None:
            verified = verify(distance, relevance)
    return TaskResult(task, tuple(results), verified)


def _trial_distance(
    task: Task, trial: Trial, models: Sequence[Embeddings], steps: Sequence[Step], metric: Metric
) -> tuple[Distance, Relevance]:
    """Distances of a trial after post-processing, and what is right; see `evaluate_task`."""
    table = models[0].table
    state = post_processed(models, trial.query, trial.gallery, steps, metric)
    distance, tracks = state.ranking(), None
    if task.protocol.gallery_unit == "track":
        tracks = table["track_id"].to_numpy()[trial.gallery]
        if state.images is None:
            distance = TrackDistance(distance, tracks)
    elif state.images is not None:
        raise StepError(
            f"retrieval.steps leaves tracks in the gallery, but task {task.name!r} ranks images; add expand_tracks."
        )
    return distance, trial_relevance(task, trial, models[0], tracks)


def post_processed(
    models: Sequence[Embeddings], query: np.ndarray, gallery: np.ndarray, steps: Sequence[Step], metric: Metric
) -> State:
    """Queries and gallery after post-processing.

    Args:
        models: Embeddings of the same data by one model or several.
        query: Rows of the queries.
        gallery: Rows of the gallery.
        steps: Post-processing.
        metric: What distances are.
    """
    context, rows = _context_of(models[0]), np.concatenate([query, gallery])
    begin = [start(model.of(rows), model.table, query, gallery, metric=metric, context=context) for model in models]
    return take(begin, steps)


def _context_of(model: Embeddings) -> Context:
    """Knowledge of post-processing beside the images of a trial."""
    meta = model.meta
    return Context(training_records(model.table), model.camera_distances, meta.trips, meta.data.fingerprint)


def trial_relevance(task: Task, trial: Trial, model: Embeddings, tracks: np.ndarray | None = None) -> Relevance:
    """Right and ignored entries of a trial; with tracks, of those instead of gallery images."""
    ids, cameras = (model.table[column].to_numpy() for column in ("vehicle_id", "camera_id"))
    gallery_ids, gallery_cameras = ids[trial.gallery], cameras[trial.gallery]
    if tracks is not None:
        gallery_ids = label_of_track("vehicle_id", gallery_ids, tracks)
        gallery_cameras = label_of_track("camera_id", gallery_cameras, tracks)
    return Relevance(
        ids[trial.query],
        gallery_ids,
        query_cameras=cameras[trial.query],
        gallery_cameras=gallery_cameras,
        query_items=trial.query,
        gallery_items=trial.gallery if tracks is None else np.full(len(gallery_ids), -1),
        ignore=task.protocol.ignore,
    )
