"""A measurement as a table and the sentences under it."""

from collections.abc import Iterator
from math import isnan
from typing import Any

from rich.console import Console

from src.data.transforms.contamination import Contamination
from src.evaluation.metrics_record import MetricsRecord, Probabilities, Scores
from src.figures.text_table import TextTable
from src.runtime.console import console

_SHOWN = ("mAP", "R1", "R5", "R10", "mINP")


def print_metrics(metrics: MetricsRecord, to: Console | None = None) -> None:
    """Prints each task with its protocol, and what it measured before training or steps."""
    out, table = console(to), metrics_table(metrics)
    out.print(table.for_terminal())
    for note in table.notes:
        out.print(note, style="dim", highlight=False, markup=False)


def metrics_table(metrics: MetricsRecord) -> TextTable:
    """A row for each task, and for what it measured before training or post-processing steps.

    Args:
        metrics: What was measured.
    """
    rows: list[tuple[str, ...]] = []
    for name in metrics.tasks:
        for features, tasks, _ in metrics.phases:
            if name in tasks:
                task = tasks[name]
                sizes = (f"{size:,}" for size in (task.queries, task.gallery, task.skipped))
                rows.append((name, features, *_numbers(task), *sizes))
                if task.trials.n > 1 and task.trials.std is not None:
                    rows.append(("", "± std", *_numbers(task.trials.std), "", "", ""))
    dimensions = metrics.models[0].dimensions if len(metrics.models) == 1 else None
    size = "" if dimensions is None else f", {dimensions} dimensions"
    columns = ("task", "features", *_SHOWN, "queries", "gallery", "skipped")
    title = f"{metrics.data.name}, {metrics.checkpoint}{size}"
    return TextTable(title, columns, tuple(rows), tuple(_notes(metrics)), 2)


def _notes(metrics: MetricsRecord) -> Iterator[str]:
    """Post-processing, damage, verification, the index, and the protocol of each task."""
    if metrics.postprocessing:
        yield f"Post-processing: {' → '.join(metrics.postprocessing)}."
    yield from dict.fromkeys(_damage(model.contamination) for model in metrics.models if model.contamination)
    for name, summary in metrics.verification.items():
        rates = ", ".join(
            f"{summary.tpr[fpr]:.3f} at {fpr} (distance ≤ {threshold:.3f})"
            for fpr, threshold in summary.threshold.items()
            if threshold is not None
        )
        yield f"{name}: true acceptance at a false acceptance rate: {rates or 'none'}."
    if metrics.probabilities is not None:
        yield from _probabilities(metrics.probabilities)
    if metrics.index is not None:
        rates = ", ".join(f"{name} {value:.4f}" for name, value in metrics.index.recall.items())
        yield f"Index {metrics.index.kind}: recall@{metrics.index.recall_at}: {rates}."
    for name, task in metrics.tasks.items():
        rules = task.protocol
        drawn = "" if rules.seed is None else f", drawn with seed {rules.seed}"
        yield (
            f"{name}: {rules.direction}; ignored: {rules.ignore.replace('_', ' ')}; {rules.ap} AP; "
            f"trials: {task.trials.n}{drawn}."
        )


def _probabilities(probabilities: Probabilities) -> Iterator[str]:
    fit = probabilities.fit
    yield (
        f"Probabilities: {fit.kind}, fitted to {fit.vehicles} vehicles {fit.source}"
        f"{', so likely too sure of themselves' if fit.source == 'trained on' else ''}."
    )
    for name, task in probabilities.tasks.items():
        missed = ", ".join(f"{rate:.3f} at {false}" for false, rate in task.fnmr.items())
        refused = task.refusal
        yield (
            f"{name}: ECE {task.nearest.ece:.3f}, Brier {task.nearest.brier:.3f} of the ten nearest; false non-match "
            f"at false match: {missed}; not in the gallery ({refused.absent} of {refused.queries}): "
            f"F1 {refused.f1:.3f}."
        )


def _damage(options: dict[str, Any]) -> str:
    damage = Contamination(**options)
    return f"Contaminated: {damage.kind.replace('_', ' ')} on {damage.share:.0%} of each image."


def _numbers(scores: Scores) -> list[str]:
    numbers = (scores.of(measure) for measure in _SHOWN)
    return ["–" if isnan(number) else f"{number:.3f}" for number in numbers]
