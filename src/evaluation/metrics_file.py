"""What a run leaves behind: `metrics.json`, and what made it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.evaluation.task_results import TaskResult
from src.runtime.provenance import git_revision, versions
from src.runtime.whole_files import write_atomically

SCHEMA = 1


def write_metrics(path: Path, results: Mapping[str, TaskResult], **context: Any) -> dict[str, Any]:
    """Writes `metrics.json`: the numbers, the protocol of each, and what they were measured with.

    Args:
        path: The file.
        results: By task name.
        context: More entries: `steps`, `checkpoint_sha`, `seed`, `data`, `config`, …

    Returns:
        What was written.
    """
    metrics = {
        "schema": SCHEMA,
        "tasks": {name: result.as_dict() for name, result in results.items()},
        "git": git_revision(),
        "versions": versions(),
        **context,
    }
    write_atomically(path, json.dumps(metrics, indent=2) + "\n")
    return metrics


def mean_ap(run_dir: Path) -> float | None:
    """The mean of the tasks' mean average precisions in a run's `metrics.json`; None if the run has none.

    Args:
        run_dir: The run's folder.
    """
    path = run_dir / "metrics.json"
    if not path.is_file():
        return None
    tasks = json.loads(path.read_text(encoding="utf-8"))["tasks"].values()
    return float(sum(task["mAP"] for task in tasks) / len(tasks))
