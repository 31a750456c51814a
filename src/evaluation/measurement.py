"""Measures embeddings, with post-processing, and writes what was found."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.data import Task, build_tasks, training_records
from src.evaluation.metrics_file import write_metrics
from src.evaluation.rank_list_files import choose_rank_lists, write_rank_lists
from src.evaluation.task_results import TaskResult, evaluate_task, require_same_images
from src.evaluation.wandb_tables import log_results, open_run
from src.figures.curves import draw_roc
from src.figures.tables import print_metrics
from src.figures.trips import draw_trips
from src.retrieval import Embeddings, Index, make_steps, recall, search

log = logging.getLogger(__name__)


def measure(
    cfg: DictConfig,
    models: Sequence[Embeddings],
    plain: Mapping[str, TaskResult] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Evaluates embeddings with the configured post-processing; writes `metrics.json` and pictures, prints the table.

    Args:
        cfg: The configuration of the command.
        models: Embeddings of one data set by one model or several.
        plain: The tasks' results without post-processing, if they are known already.
        extra: More entries of `metrics.json`.

    Returns:
        What `metrics.json` says.
    """
    require_same_images(models)
    options, first, folder = cfg.retrieval, models[0], Path(cfg.paths.run_dir)
    steps = make_steps(options.steps, options)
    tasks = build_tasks(first.table, **first.meta["evaluation"])
    if not tasks:
        log.warning("%s has no tasks, so nothing is measured; src.submit ranks it.", first.meta["data"]["name"])
        return {}
    if plain is None and steps and len(models) == 1:
        plain = {task.name: evaluate_task(task, models, top_k=options.top_k) for task in tasks}
    results = plain
    if steps or options.verification or results is None:
        results = {
            task.name: evaluate_task(
                task,
                models,
                steps,
                metric=options.metric,
                filter_counts=options.filter_counts,
                top_k=options.top_k,
                verification=options.verification,
            )
            for task in tasks
        }
    if steps:
        before = {name: result.as_dict() for name, result in (plain or {}).items()}
        extra |= {"postprocessing": list(options.steps), "before_postprocessing": before}
    if "spatio_temporal" in options.steps:
        draw_trips(training_records(first.table), first.camera_distances, folder / "figures" / "trips.png")
    if options.verification:
        verified = {name: result.verification for name, result in results.items() if result.verification is not None}
        extra["verification"] = {name: result.summary() for name, result in verified.items()}
        draw_roc({name: result.curve() for name, result in verified.items()}, folder / "figures" / "roc.png")
    if options.index.kind != "exact":
        extra["index"] = _searched(tasks, first, options)
    extra["breakdowns"] = {name: result.breakdowns(first.table) for name, result in results.items()}
    measured_with = first.meta if len(models) == 1 else _joined(models)
    config = OmegaConf.to_container(cfg, resolve=True)
    metrics = write_metrics(folder / "metrics.json", results, seed=cfg.seed, **measured_with, **extra, config=config)
    lists = choose_rank_lists(results, first.table, options.queries, options.top_k)
    write_rank_lists(folder / "figures", lists, results, first.table)
    if (tracked := open_run(cfg)) is not None:
        log_results(tracked, metrics, results, lists, first.table, folder)
    print_metrics(metrics)
    return metrics


def _searched(tasks: Sequence[Task], model: Embeddings, options: DictConfig) -> dict[str, Any]:
    """What the configured index finds of the exact nearest in each task's first trial."""
    report: dict[str, Any] = {"recall_at": options.top_k, "recall": {}}
    for task in tasks:
        query, gallery = (model.of(rows) for rows in (task.trials[0].query, task.trials[0].gallery))
        index = Index.build(
            gallery, metric=options.metric, **{str(name): value for name, value in options.index.items()}
        )
        exact = search(query, gallery, options.top_k + 16, metric=options.metric, backend="torch")  # 16 for ties
        report["recall"][task.name] = recall(index.search(query, options.top_k), exact)
        report |= {"kind": index.kind, "options": index.options}
    return report


def _joined(models: Sequence[Embeddings]) -> dict[str, Any]:
    """What `metrics.json` says of several models."""
    first = models[0].meta
    names = " + ".join(model.meta["checkpoint"] for model in models)
    return {"checkpoint": names, "data": first["data"], "models": [model.meta for model in models]}
