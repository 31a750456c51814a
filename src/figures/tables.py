"""Tables on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_metrics(metrics: dict[str, Any], console: Console | None = None) -> None:
    """Prints what `metrics.json` says: each task with its protocol, and what it measured before training or steps."""
    size = f", {metrics['dimensions']} dimensions" if "dimensions" in metrics else ""
    table = Table(title=f"{metrics['data']['name']}, {metrics['checkpoint']}{size}", title_justify="left")
    for column in ("task", "features", "mAP", "R1", "R5", "R10", "mINP", "queries", "gallery", "skipped"):
        table.add_column(column, justify="left" if column in ("task", "features") else "right")
    steps = metrics.get("postprocessing", [])
    rows = (
        ("untrained", metrics.get("untrained", {})),
        ("trained", metrics.get("before_postprocessing", {})),
        ("post-processed" if steps else "trained", metrics["tasks"]),
    )
    for name in metrics["tasks"]:
        for label, tasks in rows:
            if name in tasks:
                task = tasks[name]
                table.add_row(name, label, *_numbers(task), *(str(task[k]) for k in ("queries", "gallery", "skipped")))
                if task["trials"]["n"] > 1:
                    table.add_row("", "± std", *_numbers(task["trials"]["std"]))
    console = console or Console()
    if not console.is_terminal:
        console.width = 120  # a log file has no width to fit into
    console.print(table)
    if steps:
        console.print(f"Post-processing: {' → '.join(steps)}.", style="dim", highlight=False)
    if damage := metrics.get("contamination"):
        kind = damage["kind"].replace("_", " ")
        console.print(f"Contaminated: {kind} on {damage['share']:.0%} of each image.", style="dim", highlight=False)
    for name, found in metrics.get("verification", {}).items():
        rates = ", ".join(
            f"{found['tpr'][fpr]:.3f} at {fpr} (distance ≤ {found['threshold'][fpr]:.3f})"
            for fpr in found["tpr"]
            if found["threshold"][fpr] is not None
        )
        console.print(f"{name}: true acceptance at a false acceptance rate: {rates or 'none'}.", highlight=False)
    if index := metrics.get("index"):
        rates = ", ".join(f"{name} {value:.4f}" for name, value in index["recall"].items())
        console.print(f"Index {index['kind']}: recall@{index['recall_at']}: {rates}.", highlight=False)
    for name, task in metrics["tasks"].items():
        protocol = task["protocol"]
        drawn = f", drawn with seed {protocol['seed']}" if "seed" in protocol else ""
        console.print(
            f"{name}: {protocol['direction']}; ignored: {protocol['ignore'].replace('_', ' ')}; "
            f"{protocol['ap']} AP; trials: {task['trials']['n']}{drawn}.",
            style="dim",
            highlight=False,
        )


def _numbers(entry: dict[str, Any]) -> list[str]:
    return [f"{value:.3f}" for value in (entry["mAP"], *(entry["rank"][k] for k in ("1", "5", "10")), entry["mINP"])]
