"""`metrics.json`, what a run leaves behind: its one writer and its one reader."""

import json
from pathlib import Path

from src.evaluation.metrics_record import SCHEMA, MetricsRecord
from src.runtime.errors import ConfigError
from src.runtime.json_files import write_json
from src.runtime.run_folder import METRICS_FILE


def write_metrics(folder: Path, metrics: MetricsRecord) -> None:
    """Writes `metrics.json`, whole or not at all.

    Args:
        folder: The run's.
        metrics: What it shall say.

    Raises:
        OSError: Names the file and what is wrong.
    """
    write_json(folder / METRICS_FILE, metrics.as_dict())


def has_metrics(folder: Path) -> bool:
    """Whether a folder is that of a run with results."""
    return (folder / METRICS_FILE).is_file()


def read_metrics(folder: Path) -> MetricsRecord:
    """Reads `metrics.json`.

    Args:
        folder: A run's that has one.

    Raises:
        ConfigError: If it is not one of ours.
    """
    path = folder / METRICS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON file ({error}); take it out of runs.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ConfigError(
            f"{path} is not what a run of this project leaves, expected schema {SCHEMA}; take it out of runs."
        )
    try:
        return MetricsRecord.from_dict(content)
    except ValueError as error:
        raise ConfigError(f"{path} is not whole: {error} Take it out of runs, or measure again.") from error


def mean_ap(folder: Path) -> float | None:
    """The mean of the tasks' mean average precisions of a run; None if it has no results.

    Args:
        folder: The run's.
    """
    return read_metrics(folder).mean_ap if has_metrics(folder) else None
