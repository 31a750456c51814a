"""Remains of one run: its numbers, its embeddings, its checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.evaluation.metrics_file import has_metrics, read_metrics
from src.evaluation.metrics_record import MetricsRecord
from src.retrieval import Embeddings, EmbeddingsMeta, read_embeddings
from src.runs.finished import Measurement, read_run
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, of `src.train` or `src.evaluate`.

    Attributes:
        path: Its folder.
        metrics: What `metrics.json` says.
        measurement: Its last task, with the settings of the training that made its weights.
        embeddings: Of its model, of the first if it has several; or a sentence that says why there are none.
        checkpoint: Of the same model; or why there is none.
    """

    path: Path
    metrics: MetricsRecord
    measurement: Measurement
    embeddings: Embeddings | str
    checkpoint: Path | str


def read_finished_run(path: Path) -> FinishedRun:
    """Reads a run; embeddings and checkpoint are looked for in it and where its configuration took them from.

    Args:
        path: Its folder.

    Raises:
        ConfigError: If it has no `metrics.json` of ours.
    """
    if not has_metrics(path):
        raise ConfigError(f"run={path} has no metrics.json; pass the folder of a finished run.")
    metrics = read_metrics(path)
    model = metrics.models[0]
    given = {key: _first(metrics.config.get(key)) for key in ("embeddings", "checkpoint", "checkpoints")}
    folders = [path / "embeddings", path / "embeddings_1", *given["embeddings"]]
    checkpoints = [folder / "stages" / model.checkpoint for folder in (path, *(f.parent for f in folders))]
    checkpoints += given["checkpoint"] + given["checkpoints"]
    *_, measurement = read_run(path)
    return FinishedRun(path, metrics, measurement, _embeddings(folders, model), _checkpoint(checkpoints, model))


def _first(value: Any) -> list[Path]:
    """The first of several paths, or the only one, if there is one."""
    if not value:
        return []
    return [Path(value if isinstance(value, str) else value[0])]


def _embeddings(folders: list[Path], model: EmbeddingsMeta) -> Embeddings | str:
    """The first whole folder of embeddings of these weights."""
    for folder in folders:
        try:
            embeddings = read_embeddings(folder)
        except FileNotFoundError:
            continue
        if embeddings.meta.checkpoint_sha == model.checkpoint_sha:
            return embeddings
    return f"no whole embeddings folder of this model in {', '.join(dict.fromkeys(map(str, folders)))}"


def _checkpoint(files: list[Path], model: EmbeddingsMeta) -> Path | str:
    """The first file of these weights."""
    for file in files:
        if file.is_file() and file_sha(file) == model.checkpoint_sha:
            return file
    return f"no checkpoint of SHA-256 {model.checkpoint_sha[:12]}… in {', '.join(dict.fromkeys(map(str, files)))}"
