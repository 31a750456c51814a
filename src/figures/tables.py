"""Tables on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_metrics(metrics: dict[str, Any], console: Console | None = None) -> None:
    """Prints what `metrics.json` says: a row a task with its protocol, and the untrained features if measured."""
    table = Table(title=f"{metrics['data']['name']}, {metrics['checkpoint']}", title_justify="left")
    for column in ("task", "features", "mAP", "R1", "R5", "R10", "mINP", "queries", "gallery", "skipped"):
        table.add_column(column, justify="left" if column in ("task", "features") else "right")
    for name in metrics["tasks"]:
        for label, tasks in (("untrained", metrics.get("untrained", {})), ("trained", metrics["tasks"])):
            if name in tasks:
                table.add_row(name, label, *_cells(tasks[name]))
    console = console or Console()
    if not console.is_terminal:
        console.width = 120  # a log file has no width to fit into
    console.print(table)
    for name, task in metrics["tasks"].items():
        protocol = task["protocol"]
        console.print(
            f"{name}: {protocol['direction']}; ignored: {protocol['ignore'].replace('_', ' ')}; "
            f"{protocol['ap']} AP; trials: {task['trials']['n']}.",
            style="dim",
            highlight=False,
        )


def _cells(task: dict[str, Any]) -> list[str]:
    shown = [task["mAP"], *(task["rank"][k] for k in ("1", "5", "10")), task["mINP"]]
    return [f"{value:.3f}" for value in shown] + [str(task[k]) for k in ("queries", "gallery", "skipped")]
