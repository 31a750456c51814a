"""Measures embeddings, with post-processing; writes the numbers, then shows them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from src.data import Task, build_tasks, training_records
from src.evaluation.loggers import log_results
from src.evaluation.metrics_file import write_metrics
from src.evaluation.metrics_record import IndexRecord, MetricsRecord, Probabilities, Tasks
from src.evaluation.metrics_table import print_metrics
from src.evaluation.rank_list_files import choose_rank_lists, write_rank_lists
from src.evaluation.task_probabilities import MeasuredProbabilities, measure_probabilities
from src.evaluation.task_results import TaskResult, evaluate_task, require_same_images
from src.figures.curves import draw_roc
from src.figures.falling_curves import draw_falling_curves, falling_curves
from src.figures.probabilities import draw_probabilities
from src.figures.trips import draw_trips
from src.retrieval import Embeddings, Index, make_steps, recall, search
from src.runtime.progress import working
from src.runtime.provenance import git_revision, versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """Results of embeddings.

    Attributes:
        models: The embeddings, of one data set by one model or several.
        options: The node `retrieval` of a configuration that they were measured with.
        results: By task, after post-processing; empty for a data set without tasks.
        before: By task, without post-processing, where that is known; empty if no step was taken.
        probabilities: By task that ranks images, without post-processing; empty without a calibration.
    """

    models: Sequence[Embeddings]
    options: DictConfig
    results: Mapping[str, TaskResult]
    before: Mapping[str, TaskResult]
    probabilities: Mapping[str, MeasuredProbabilities]


def measure(
    models: Sequence[Embeddings], options: DictConfig, plain: Mapping[str, TaskResult] | None = None
) -> Measured:
    """Evaluates embeddings with the configured post-processing.

    Args:
        models: Embeddings of one data set by one model or several.
        options: The node `retrieval` of a configuration.
        plain: The tasks' results without post-processing, if they are known already.

    Raises:
        ConfigError: If the models saw different images.
        StepError: If a step is unknown or cannot be taken.
    """
    require_same_images(models)
    first = models[0]
    steps = make_steps(options.steps, options)
    tasks = build_tasks(first.table, **first.meta.evaluation)
    if not tasks:
        log.warning("%s has no tasks, so nothing is measured; src.submit ranks it.", first.meta.data.name)
    if plain is None and steps and len(models) == 1:
        with working("Ranking"):
            plain = {
                task.name: evaluate_task(task, models, metric=options.metric, top_k=options.top_k) for task in tasks
            }
    results = plain
    if steps or options.verification or results is None:
        results = {}
        for task in tasks:
            with working(" after ".join([f"Ranking {task.name}", *([", ".join(options.steps)] if steps else [])])):
                results[task.name] = evaluate_task(
                    task,
                    models,
                    steps,
                    metric=options.metric,
                    filter_counts=options.filter_counts,
                    top_k=options.top_k,
                    verification=options.verification,
                )
    probabilities = {}
    if len(models) == 1 and first.meta.calibration is not None:
        with working("Measuring probabilities"):
            found = {task.name: measure_probabilities(task, first, first.meta.calibration) for task in tasks}
        probabilities = {name: measured for name, measured in found.items() if measured is not None}
    return Measured(models, options, results, (plain or {}) if steps else {}, probabilities)


def write_results(
    measured: Measured,
    folder: Path,
    *,
    seed: int,
    config: dict[str, Any],
    steps: int | None = None,
    untrained: Tasks | None = None,
) -> MetricsRecord:
    """Writes `metrics.json` and prints its table.

    The file is there before an index is built to learn its recall, and written again after that, so that what fails
    takes no number with it.

    Args:
        measured: What was measured, of at least one task.
        folder: The run's.
        seed: Of the run.
        config: The configuration of the command, in plain values.
        steps: Of the training, if there was one.
        untrained: What pretrained features measured before it.

    Returns:
        What the file says.
    """
    models, options, results = measured.models, measured.options, measured.results
    verified = {name: result.verification for name, result in results.items() if result.verification is not None}
    calibration = models[0].meta.calibration
    probabilities = None
    if measured.probabilities and calibration is not None:
        numbers = {name: found.record for name, found in measured.probabilities.items()}
        probabilities = Probabilities(calibration.fit, numbers)
    metrics = MetricsRecord(
        tasks={name: result.record() for name, result in results.items()},
        models=tuple(model.meta for model in models),
        seed=seed,
        config=config,
        git=git_revision(),
        versions=versions(),
        steps=steps,
        untrained=untrained or {},
        postprocessing=tuple(options.steps),
        before_postprocessing={name: result.record() for name, result in measured.before.items()},
        verification={name: result.summary() for name, result in verified.items()},
        probabilities=probabilities,
        breakdowns={name: result.breakdowns(models[0].table) for name, result in results.items()},
    )
    write_metrics(folder, metrics)
    if options.index.kind != "exact":
        with working(f"Building and searching the {options.index.kind} index"):
            searched = _searched([result.task for result in results.values()], models[0], options)
        metrics = replace(metrics, index=searched)
        write_metrics(folder, metrics)
    print_metrics(metrics)
    return metrics


def show_results(measured: Measured, metrics: MetricsRecord, folder: Path, loggers: Sequence[Logger] = ()) -> None:
    """Draws the pictures of a measurement, and logs numbers and pictures.

    Args:
        measured: What was measured.
        metrics: What was written of it.
        folder: The run's; the pictures go to `figures/`.
        loggers: Where to log.
    """
    results, first, figures = measured.results, measured.models[0], folder / "figures"
    if "spatio_temporal" in metrics.postprocessing:
        draw_trips(training_records(first.table), first.camera_distances, figures / "trips.png")
        draw_falling_curves(falling_curves(measured.options.spatio_temporal), figures / "falling_curves.png")
    if metrics.verification:
        verified = {name: result.verification for name, result in results.items() if result.verification is not None}
        draw_roc({name: result.curve() for name, result in verified.items()}, figures / "roc.png")
    if measured.probabilities:
        found = measured.probabilities
        nearest, pairs = ({name: getattr(one, kind) for name, one in found.items()} for kind in ("nearest", "pairs"))
        present, absent = (
            np.concatenate([getattr(one, side) for one in found.values()]) for side in ("present", "absent")
        )
        draw_probabilities(nearest, pairs, present, absent, figures / "probabilities.png")
    lists = choose_rank_lists(results, first.table, measured.options.queries, measured.options.top_k)
    write_rank_lists(figures, lists, results, first.table)
    if loggers:
        log_results(loggers, metrics, results, lists, first.table, folder)


def _searched(tasks: Sequence[Task], model: Embeddings, options: DictConfig) -> IndexRecord:
    """Recall of the configured index in each task's first trial."""
    recalls = {}
    for task in tasks:
        query, gallery = (model.of(rows) for rows in (task.trials[0].query, task.trials[0].gallery))
        index = Index.build(
            gallery, metric=options.metric, **{str(name): value for name, value in options.index.items()}
        )
        exact = search(query, gallery, options.top_k + 16, metric=options.metric, backend="torch")  # 16 for ties
        recalls[task.name] = recall(index.search(query, options.top_k), exact)
    return IndexRecord(options.top_k, recalls, index.kind, dict(index.options))
