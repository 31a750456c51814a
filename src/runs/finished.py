"""Reads finished runs: what each measured, and with which settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.evaluation.metrics_file import has_metrics, read_metrics
from src.evaluation.metrics_record import MetricsRecord, TaskRecord
from src.retrieval import DataVersion
from src.runtime.errors import ConfigError
from src.runtime.run_folder import METRICS_FILE

#: Settings that change no number, or only which of several equal runs one is; and every `….root`.
_SAME_RUN = (
    *("name", "seed", "workers", "eval_batch_size", "validate_every", "compare_untrained", "logger", "callbacks"),
    *("paths", "retrieval.queries", "retrieval.top_k", "retrieval.verification"),
    *("trainer.log_every_n_steps", "trainer.enable_model_summary"),
)
#: Where an evaluation takes its weights or embeddings from.
_SOURCES = ("checkpoint", "checkpoints", "embeddings")
#: What pretrained features without any training depend on.
_UNTRAINED = ("backbone", "data", "transforms")


@dataclass(frozen=True)
class Measurement:
    """One task of one run.

    Attributes:
        folder: The run.
        task: Name of the task.
        settings: The configuration, flat (`method.alpha: 0.5`), without what names or places a run. Three more stand
            before it: `data`, `features` (untrained, trained or post-processed) and `method` (the class).
        seed: Of the training, where that is known.
        weights: Hash of the checkpoint; empty for untrained features.
        result: What the task measured.
        data: The data set.
        git: Revision of the code.
        versions: Of the libraries.
    """

    folder: Path
    task: str
    settings: dict[str, Any]
    seed: int
    weights: str
    result: TaskRecord
    data: DataVersion
    git: str | None
    versions: dict[str, str | None]


def find_runs(paths: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Looks for runs in folders, all folders below them, and patterns such as `outputs/sweeps/*`.

    Args:
        paths: Folders or patterns.

    Returns:
        Folders that hold results, and those of runs that have not come to results, in the order of their names.

    Raises:
        ConfigError: If there is no path, one leads nowhere, or no run has results.
    """
    if not paths:
        raise ConfigError("Which runs? Pass runs=[<run or sweep folder>, …].")
    finished: set[Path] = set()
    unfinished: set[Path] = set()
    for path in paths:
        given = Path(path)
        anchor = Path(given.anchor)  # a pattern must not be absolute
        folders = [given] if given.is_dir() else list(anchor.glob(str(given.relative_to(anchor))))
        if not folders:
            raise ConfigError(f"No folder {path}; pass runs=[<run or sweep folder>, …].")
        for folder in folders:
            finished |= {file.parent for file in folder.rglob(METRICS_FILE)}
            unfinished |= {log.parent for name in ("train.log", "evaluate.log") for log in folder.rglob(name)}
    unfinished -= finished
    if not finished:
        where = f"in or below {', '.join(paths)}" + (f" (unfinished runs: {len(unfinished)})" if unfinished else "")
        raise ConfigError(f"No metrics.json {where}; pass runs=[<run or sweep folder>, …].")
    return sorted(finished, key=_in_order), sorted(unfinished, key=_in_order)


def _in_order(folder: Path) -> list[tuple[int, str]]:
    """Run 10 of a sweep comes after run 9."""
    return [(int(part) if part.isdigit() else -1, part) for part in folder.parts]


def read_run(folder: Path) -> Iterator[Measurement]:
    """Reads what a run measured: its tasks, and those before post-processing or training where it has them.

    The settings of an evaluation are completed with those of the training that made its weights, if that run is still
    where it was.

    Args:
        folder: The run, with `metrics.json`.

    Raises:
        ConfigError: If `metrics.json` is not one of ours.
    """
    metrics = read_metrics(folder)
    settings, seed = _settings(metrics)
    weights = "+".join(model.checkpoint_sha for model in metrics.models)
    for features, tasks, steps in metrics.phases:
        known = {
            "data": metrics.data.name,
            "features": features,
            "method": str(settings.get("method._target_", "")).rpartition(".")[2] or None,
        } | _relevant(settings, steps)
        if features == "untrained":
            known = {key: value for key, value in known.items() if key == "features" or key.startswith(_UNTRAINED)}
        for task, result in tasks.items():
            yield Measurement(
                folder=folder,
                task=task,
                settings=known,
                seed=seed,
                weights="" if features == "untrained" else weights,
                result=result,
                data=metrics.data,
                git=metrics.git,
                versions=metrics.versions,
            )


def _settings(metrics: MetricsRecord) -> tuple[dict[str, Any], int]:
    """The flat configuration of a run and its seed."""
    settings, seed = flatten(metrics.config), metrics.seed
    if "method._target_" not in settings:  # an evaluation, which leaves to the checkpoint what is null
        left = [
            key for key, value in settings.items() if value is None and (key == "data" or key.startswith("method."))
        ]
        settings = {key: value for key, value in settings.items() if key not in left}
    sha = ""
    if len(metrics.models) == 1:
        (model,) = metrics.models
        sha = model.checkpoint_sha
        # embeddings were made before this run's configuration
        settings |= flatten(model.views, "retrieval.") | flatten(model.method, "method.")
    given = [source for source in (settings.pop(key, None) for key in _SOURCES) if source]
    training = _training(given[0], sha) if given and isinstance(given[0], str) else None
    if training is not None:
        before, seed = _settings(training)
        settings = before | settings
    elif given:
        settings["weights"] = given[0]
    return {key: value for key, value in settings.items() if not _names_a_run(key)}, seed


def _names_a_run(key: str) -> bool:
    return key.endswith(".root") or any(key == same or key.startswith(f"{same}.") for same in _SAME_RUN)


def _training(source: str, sha: str) -> MetricsRecord | None:
    """Record of the run that made a checkpoint or an embeddings folder, if it is about the same weights."""
    for folder in Path(source).parents:
        if has_metrics(folder):
            metrics = read_metrics(folder)
            return metrics if [model.checkpoint_sha for model in metrics.models] == [sha] else None
    return None


def _relevant(settings: Mapping[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    """The settings without the options of post-processing steps that were not taken."""
    kept = {}
    for key, value in settings.items():
        group, _, rest = key.partition(".")
        step, is_option, _ = rest.partition(".")
        if group != "retrieval" or not is_option or step in (*steps, "index"):
            kept[key] = value
    return kept | {"retrieval.steps": list(steps)}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as one level of dotted keys; lists are values.

    >>> flatten({"method": {"alpha": 0.5, "parts": {"width": 4}}, "seed": 0})
    {'method.alpha': 0.5, 'method.parts.width': 4, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
