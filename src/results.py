"""What a run leaves behind: `metrics.json`, and what made it."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from src.files import write_atomically
from src.methods.task_results import TaskResult

SCHEMA = 1
_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "torchmetrics",
    "numpy",
    "albumentations",
    "opencv-python-headless",
)


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
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
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


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The commit of this code, with `-dirty` if files differ from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def file_sha(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
