"""Trained on A, tested on B: every checkpoint on every data set, each pair measured once."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.checkpoint_file import load_checkpoint
from src.config.checks import check_command
from src.config.data_node import build_data
from src.config.schema import EvaluateConfig
from src.data import known
from src.embed import Embedder
from src.evaluation import evaluation_run
from src.evaluation.metrics_file import has_metrics, read_metrics
from src.evaluation.metrics_record import MetricsRecord
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha
from src.runtime.run_folder import METRICS_FILE

log = logging.getLogger(__name__)

BATCH, ROUNDS = 32, 5
#: What may be wrong with a checkpoint, a data set, or the two together.
_WRONG = (ValueError, OSError, RuntimeError)
#: Settings of `src.evaluate` that do not change what is measured, or are told apart by hashes of their own.
_APART = ("checkpoint", "data", "paths", "trainer", "workers", "logger", "sweep")


@dataclass(frozen=True)
class Model:
    """A checkpoint of the table.

    Attributes:
        path: The file.
        trained_on: Name of its data set; "" if it cannot be read.
        sha: SHA-256 of the file, likewise.
        megabytes: Its size; None if it cannot be read.
        reason: Why it cannot be read; "" if it can.
    """

    path: Path
    trained_on: str = ""
    sha: str = ""
    megabytes: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class DataToTest:
    """A data set of the table.

    Attributes:
        name: As the user gave it.
        cfg: The checked configuration of `src.evaluate`; None if something is wrong with it.
        fingerprint: Of its record table, of its tasks, and of the settings that it is measured with.
        whole_domains: Whether every tested image is known to be of the day or the night.
        reason: What is wrong; "" if nothing is.
    """

    name: str
    cfg: DictConfig | None = None
    fingerprint: str = ""
    whole_domains: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Cell:
    """What a checkpoint measured on a data set, or in one sentence why nothing."""

    metrics: MetricsRecord | None = None
    reason: str = ""


def find_models(paths: Sequence[str]) -> list[Model]:
    """The checkpoints of files, of run folders (what was tested), and of patterns.

    Raises:
        ConfigError: If there is none.
    """
    found: list[Path] = []
    for text in paths:
        path = Path(text).expanduser()
        anchor = Path(path.anchor)  # a pattern must not be absolute
        matching = [path] if path.exists() else sorted(anchor.glob(str(path.relative_to(anchor)))) or [path]
        for one in matching:
            found += _of_run(one) if one.is_dir() else [one]
    if not found:
        raise ConfigError(f"No checkpoint in {', '.join(paths)}; pass checkpoints=[<run folder or last.ckpt>, …].")
    return [_model(path) for path in dict.fromkeys(found)]


def _of_run(folder: Path) -> list[Path]:
    """The newest checkpoint of each run in or below a folder."""
    runs = sorted({file.parent for file in folder.rglob(METRICS_FILE)})
    newest = (max(run.glob("stages/*/last.ckpt"), key=lambda path: path.stat().st_mtime, default=None) for run in runs)
    return [path for path in newest if path is not None] or [folder]


def _model(path: Path) -> Model:
    try:
        said = load_checkpoint(path)["reid"]
        trained_on = str(said.get("data", {}).get("name", ""))
        return Model(path, trained_on, file_sha(path), path.stat().st_size / 1e6)
    except _WRONG as error:
        return Model(path, reason=_sentence(error))


def find_test_set(text: str, options: Sequence[str] = ()) -> DataToTest:
    """A data set, read.

    Args:
        text: Name of a file of `conf/data`, and overrides of `src.evaluate` behind it: `csv data.root=my_cars`.
        options: More overrides.
    """
    from hydra import compose
    from hydra.errors import HydraException

    name, *overrides = text.split()
    try:
        cfg = compose("evaluate", overrides=[f"data={name}", "paths.run_dir=null", *options, *overrides])
        check_command(cfg, EvaluateConfig)
        data = build_data(cfg.data, transforms=None)
        data.setup("test")
    except (*_WRONG, HydraException) as error:
        return DataToTest(text, reason=_sentence(error))
    settings = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in _APART])
    how = json.dumps([data.evaluation, OmegaConf.to_container(settings, resolve=True)], sort_keys=True)
    return DataToTest(
        text,
        cfg,
        f"{data.fingerprint}_{hashlib.sha256(how.encode()).hexdigest()[:8]}",
        bool(known(data.table.iloc[data.eval_rows], "domain").all()),
        "" if data.tasks else "it has no tasks to measure",
    )


def measure_cells(models: Sequence[Model], sets: Sequence[DataToTest], folder: Path) -> dict[tuple[Path, str], Cell]:
    """What every checkpoint measures on every data set; what was measured before is read.

    Args:
        models: The checkpoints.
        sets: The data sets.
        folder: Of the measurements, one folder each, named after the hashes of checkpoint and data.
    """
    return {(model.path, test.name): _cell(model, test, folder) for model in models for test in sets}


def _cell(model: Model, test: DataToTest, folder: Path) -> Cell:
    if reason := model.reason or test.reason:
        return Cell(reason=reason)
    assert test.cfg is not None  # there is no reason why not
    place = folder / f"{model.sha[:16]}_{test.fingerprint}"
    try:
        if has_metrics(place):
            log.info("%s on %s was measured before: %s.", model.path, test.name, place)
            return Cell(read_metrics(place))
        if not test.whole_domains and Embedder(model.path, device="cpu").needs_domain:
            return Cell(reason="the method must know day from night, which the data set does not say of each image")
        cfg = test.cfg.copy()
        cfg.checkpoint, cfg.paths.run_dir = str(model.path), str(place)
        return Cell(evaluation_run.run(cfg))
    except _WRONG as error:
        return Cell(reason=_sentence(error))


def images_per_second(models: Sequence[Model], device: str) -> dict[Path, float]:
    """Pictures in memory that each checkpoint embeds in a second, resizing included: medians of rounds in turns.

    Args:
        models: The checkpoints; of those that cannot be read there is nothing.
        device: See `Embedder`.
    """
    embedders = dict(_embedders(models, device))
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    seconds: dict[Path, list[float]] = {path: [] for path in embedders}
    for _ in range(ROUNDS + 1):  # the first one only warms up
        for path, embed in embedders.items():
            start = perf_counter()
            embed([picture] * BATCH, "day")
            seconds[path].append(perf_counter() - start)
    return {path: BATCH / median(times[1:]) for path, times in seconds.items()}


def _embedders(models: Sequence[Model], device: str) -> Iterator[tuple[Path, Embedder]]:
    for model in models:
        if not model.reason:
            try:
                yield model.path, Embedder(model.path, device=device, batch_size=BATCH)
            except _WRONG as error:
                log.warning("%s: %s", model.path, _sentence(error))


def _sentence(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
