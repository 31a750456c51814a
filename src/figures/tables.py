"""What `metrics.json` says, as a table and the sentences under it."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console

from src.figures.text_table import TextTable


def print_metrics(metrics: dict[str, Any], console: Console | None = None) -> None:
    """Prints what `metrics.json` says: each task with its protocol, and what it measured before training or steps."""
    console = console or Console()
    if not console.is_terminal:
        console.width = 120  # a log file has no width to fit into
    table = metrics_table(metrics)
    console.print(table.for_terminal())
    for note in table.notes:
        console.print(note, style="dim", highlight=False, markup=False)


def metrics_table(metrics: dict[str, Any]) -> TextTable:
    """A row for each task, and for what it measured before training or post-processing steps.

    Args:
        metrics: What `metrics.json` says.
    """
    steps = metrics.get("postprocessing", [])
    kinds = (
        ("untrained", metrics.get("untrained", {})),
        ("trained", metrics.get("before_postprocessing", {})),
        ("post-processed" if steps else "trained", metrics["tasks"]),
    )
    rows: list[tuple[str, ...]] = []
    for name in metrics["tasks"]:
        for label, tasks in kinds:
            if name in tasks:
                task = tasks[name]
                sizes = (f"{task[key]:,}" for key in ("queries", "gallery", "skipped"))
                rows.append((name, label, *_numbers(task), *sizes))
                if task["trials"]["n"] > 1:
                    rows.append(("", "± std", *_numbers(task["trials"]["std"]), "", "", ""))
    size = f", {metrics['dimensions']} dimensions" if "dimensions" in metrics else ""
    columns = ("task", "features", "mAP", "R1", "R5", "R10", "mINP", "queries", "gallery", "skipped")
    title = f"{metrics['data']['name']}, {metrics['checkpoint']}{size}"
    return TextTable(title, columns, tuple(rows), tuple(_notes(metrics)), 2)


def _notes(metrics: dict[str, Any]) -> Iterator[str]:
    """Post-processing, damage, verification, the index, and the protocol of each task."""
    if steps := metrics.get("postprocessing"):
        yield f"Post-processing: {' → '.join(steps)}."
    if damage := metrics.get("contamination"):
        yield f"Contaminated: {damage['kind'].replace('_', ' ')} on {damage['share']:.0%} of each image."
    for name, found in metrics.get("verification", {}).items():
        rates = ", ".join(
            f"{found['tpr'][fpr]:.3f} at {fpr} (distance ≤ {found['threshold'][fpr]:.3f})"
            for fpr in found["tpr"]
            if found["threshold"][fpr] is not None
        )
        yield f"{name}: true acceptance at a false acceptance rate: {rates or 'none'}."
    if index := metrics.get("index"):
        rates = ", ".join(f"{name} {value:.4f}" for name, value in index["recall"].items())
        yield f"Index {index['kind']}: recall@{index['recall_at']}: {rates}."
    for name, task in metrics["tasks"].items():
        protocol = task["protocol"]
        drawn = f", drawn with seed {protocol['seed']}" if "seed" in protocol else ""
        yield (
            f"{name}: {protocol['direction']}; ignored: {protocol['ignore'].replace('_', ' ')}; "
            f"{protocol['ap']} AP; trials: {task['trials']['n']}{drawn}."
        )


def _numbers(entry: dict[str, Any]) -> list[str]:
    return [f"{value:.3f}" for value in (entry["mAP"], *(entry["rank"][k] for k in ("1", "5", "10")), entry["mINP"])]
