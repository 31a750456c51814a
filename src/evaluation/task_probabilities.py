"""Probabilities measured on a task: calibration, errors at a threshold, and the answer "not in the gallery"."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from src.data import Task, Trial
from src.data.protocols import answerable
from src.evaluation.metrics_record import TaskProbabilities
from src.evaluation.task_results import trial_relevance
from src.retrieval import Embeddings, search
from src.retrieval.probabilities.calibration import Calibration, from_log_odds, log_odds
from src.retrieval.probabilities.probability_errors import (
    Reliability,
    false_non_match,
    measure_errors,
    refusal,
)
from src.retrieval.probabilities.score_counts import GRID, ScoreCounts

QUERIES = 2000  # evenly spread over those of the task: more would tell nothing new, and take time
NEAREST = 10  # images of a query's list that are looked at
FALSE_MATCH = (1e-2, 1e-3)


@dataclass(frozen=True)
class MeasuredProbabilities:
    """Probabilities of a task with what pictures are drawn of.

    Attributes:
        record: The numbers.
        nearest: Reliability of the ten nearest.
        pairs: Of all pairs, at even odds.
        present: Probabilities of the nearest images of queries whose vehicle is in the gallery.
        absent: Of those whose vehicle was taken out.
    """

    record: TaskProbabilities
    nearest: Reliability
    pairs: Reliability
    present: NDArray[np.float64]
    absent: NDArray[np.float64]


def measure_probabilities(
    task: Task, model: Embeddings, calibration: Calibration, seed: int = 0
) -> MeasuredProbabilities | None:
    """Measures probabilities on a task's first trial, as a query finds images, before any post-processing.

    Args:
        task: Over the table of the embeddings.
        model: The embeddings.
        calibration: Of the checkpoint that made them.
        seed: Decides which vehicles are taken out.

    Returns:
        None for a task that ranks tracks, or if either class of pairs is empty: probabilities are of pairs of images.
    """
    if task.protocol.gallery_unit != "image":
        return None
    trial = task.trials[0]
    trial = Trial(trial.query[:: -(-len(trial.query) // QUERIES)], trial.gallery)
    evidence, counts = _all_pairs(task, trial, model, calibration)
    same, different = counts.total
    if not same or not different:
        return None
    prior = same / (same + different)
    even, even_bins = measure_errors(*evidence, prior=0.5, share=0.5)
    near, right, listed = _nearest(task, trial, model, calibration, NEAREST)
    nearest, bins = measure_errors(near[listed], right[listed], ~right[listed], prior)
    nearest = replace(nearest, cllr=math.nan)  # which means nothing for the pairs of highest scores
    first, present = _halved(task, trial, model, calibration, seed)
    # Half of the vehicles are not there, so half as many pairs are right.
    said = np.where(np.isfinite(first), from_log_odds(first + log_odds(prior / 2)), 0.0)
    record = TaskProbabilities(
        nearest=nearest,
        pairs=even,
        prior=prior,
        fnmr={f"{rate:g}": false_non_match(counts, rate) for rate in FALSE_MATCH},
        refusal=refusal(said, ~present, prior / 2),
    )
    return MeasuredProbabilities(record, bins, even_bins, said[present], said[~present])


def _all_pairs(
    task: Task, trial: Trial, model: Embeddings, calibration: Calibration
) -> tuple[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]], ScoreCounts]:
    """Evidence, and numbers of pairs of one vehicle and of two that have it; and the counts of their scores."""
    domains = model.table["domain"].to_numpy()
    parts, total = [], None
    for one in np.unique(domains[trial.query]):
        for other in np.unique(domains[trial.gallery]):
            part = Trial(trial.query[domains[trial.query] == one], trial.gallery[domains[trial.gallery] == other])
            relevance = trial_relevance(task, part, model)
            counts = ScoreCounts.between(model.of(part.query), model.of(part.gallery), relevance)
            parts.append((calibration.evidence(GRID, one, other), counts.same, counts.different))
            total = counts if total is None else total + counts
    evidence, same, different = (np.concatenate(side) for side in zip(*parts, strict=True))
    assert total is not None  # a trial has queries and a gallery
    return (evidence, same, different), total


def _nearest(
    task: Task, trial: Trial, model: Embeddings, calibration: Calibration, most: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Evidence of the nearest images of each query, whether they are right, and whether they are there, `(Q, most)`."""
    relevance = trial_relevance(task, trial, model)
    places, distances = search(
        model.of(trial.query), model.of(trial.gallery), most, metric="euclidean", relevance=relevance, backend="torch"
    )
    there = places >= 0
    scores = np.where(there, 1 - distances.astype(np.float64) ** 2 / 2, -1.0)
    rows = trial.gallery[np.maximum(places, 0)]
    vehicles, domains = model.table["vehicle_id"].to_numpy(), model.table["domain"].to_numpy()
    right = there & (vehicles[rows] == vehicles[trial.query][:, None])
    return calibration.evidence(scores, domains[trial.query][:, None], domains[rows]), right, there


def _halved(
    task: Task, trial: Trial, model: Embeddings, calibration: Calibration, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Evidence of each query's nearest image once half of the query vehicles left the gallery, and who is still there.

    The evidence is −infinity where the gallery is empty for a query.
    """
    vehicles = model.table["vehicle_id"].to_numpy()
    names = np.unique(vehicles[trial.query])
    gone = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
    left = Trial(trial.query, trial.gallery[~np.isin(vehicles[trial.gallery], gone)])
    present = answerable(model.table, left, task.protocol.ignore)
    if len(left.gallery) == 0:
        return np.full(len(trial.query), -np.inf), present
    evidence, _, there = _nearest(task, left, model, calibration, 1)
    return np.where(there, evidence, -np.inf)[:, 0], present
