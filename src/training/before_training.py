"""Everything that can be known before a run trains: what is wrong in any of its stages is refused here."""

import logging
import os
from collections.abc import Container, Mapping
from functools import cache
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from src.checkpoints.checkpoint_file import load_checkpoint
from src.checkpoints.restore import build_method
from src.config.initial_weights import initial_weights
from src.config.schema import Stage
from src.data import ReIDDataModule
from src.evaluation.pseudo_labels import stage_options
from src.evaluation.rehearsal import rehearse
from src.retrieval import TripModel, make_steps
from src.runtime.errors import ConfigError
from src.runtime.processes import on_first_process
from src.runtime.run_folder import refuse_finished
from src.training.stage import stage_of, training_data

log = logging.getLogger(__name__)


def check_run(cfg: DictConfig) -> dict[str, ReIDDataModule]:
    """Refuses, before anything is trained, what would fail after it; says which weights the run starts from.

    Every stage's data set is read, a batch of it planned, the weights that it names looked at, and the steps of
    post-processing tried on what the last stage is tested on.

    Args:
        cfg: The checked configuration of `src.train`.

    Returns:
        Each stage's data set, read; without the images that it will mine.

    Raises:
        ConfigError: If the folder holds results, a stage has no data, no weights or no model to mine with, or would
            train on what the run is tested on.
        ValueError: If a data set is not as its parser expects, or a step cannot be taken.
    """
    refuse_finished(Path(cfg.paths.run_dir), resume=cfg.resume)
    make_steps(cfg.retrieval.steps, cfg.retrieval)
    names = [str(name) for name in cfg.stages]
    names = names[names.index(cfg.start) if cfg.start else 0 :]
    stages = {name: stage_of(cfg, name) for name in names}
    for place, (name, stage) in enumerate(stages.items()):
        _check_checkpoints(name, stage, first=place == 0)
    data = {name: training_data(cfg, stage) for name, stage in stages.items()}
    for name in names:
        _check_batches(name, data[name])
    _check_networks(cfg, stages, data)
    last = names[-1]
    tested = data[last].table
    held = set(_images(tested[tested["split"] != "train"]))
    for name in names:
        _check_apart(name, data[name], last, held)
    _check_test(cfg, last, data[last])
    for sentence, loudly in initial_weights(cfg):
        log.log(logging.WARNING if on_first_process(loudly, False) else logging.INFO, sentence)
    return data


def _check_checkpoints(name: str, stage: Stage, first: bool) -> None:
    """Refuses checkpoints that are not there or are none, and mining without a model."""
    named = [] if stage.load in (None, "previous") else [str(stage.load)]
    if stage.mine:
        checkpoint = stage_options(stage.mine)[1]
        if checkpoint is not None:
            named.append(str(checkpoint))
        elif first and not named:
            raise ConfigError(
                f"The stage {name!r} mines identities and has no model to do so; pass "
                f"stages.{name}.mine.checkpoint=<checkpoint>."
            )
    for path in named:
        try:
            load_checkpoint(Path(path))
        except ConfigError as error:
            raise ConfigError(f"stages.{name}: {error}") from error


def _check_batches(name: str, data: ReIDDataModule) -> None:
    """Refuses data of which no batch can be drawn, or that lack masks."""
    try:
        data.train_dataloader()
    except ValueError as error:
        raise ConfigError(f"stages.{name}: {error}") from error


def _check_networks(cfg: DictConfig, stages: Mapping[str, Stage], data: Mapping[str, ReIDDataModule]) -> None:
    """Refuses parts to freeze that the network lacks, and weights that do not fit it."""
    bare = cfg.copy()
    bare.backbone.weights = None  # the shapes are what counts
    loading = {name for name, stage in stages.items() if stage.load not in (None, "previous")}
    freezing = {name for name, stage in stages.items() if stage.freeze}
    for name in [*loading, *list(freezing - loading)]:
        stage = stages[name]
        method = build_method(bare, data[name].num_classes, data[name].names)
        method.check_parts(stage.freeze)
        if name in loading and not stage.allow_partial:
            state = load_checkpoint(Path(str(stage.load)))["state_dict"]
            method.take_over(state, stage.replace, str(stage.load))


def _check_apart(name: str, data: ReIDDataModule, last: str, held: Container[tuple[str, str]]) -> None:
    """Refuses a stage that trains on images which the last one is tested on, the held ones."""
    trained = data.table[data.table["split"] == "train"]
    shared = [place for place, image in enumerate(_images(trained)) if image in held]
    if shared:
        first = trained.iloc[shared[0]]
        raise ConfigError(
            f"stages.{name} trains on {len(shared)} of the images that stages.{last} is tested on, {first['path']} of "
            f"{first['dataset']} among them; take them out of its data (in a pool sources.<name>.use=train)."
        )


def _images(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Places where the images lie in truth, and their boxes."""
    real = cache(os.path.realpath)
    files = []
    for root, path, box in zip(table["root"], table["path"], table["box"], strict=True):
        folder, _, file = str(path).rpartition("/")
        files.append((f"{real(f'{root}/{folder}')}/{file}", str(box)))
    return files


def _check_test(cfg: DictConfig, name: str, data: ReIDDataModule) -> None:
    """Refuses what the test of the last stage will lack."""
    if not data.tasks:
        if cfg.test_checkpoint == "best":
            raise ConfigError(
                f"test_checkpoint=best, but stages.{name}.data has no tasks to choose a checkpoint by; pass "
                "test_checkpoint=last."
            )
        return
    train = data.table[data.table["split"] == "train"]
    trips = TripModel.fit_records(train, data.camera_distances)
    rehearse(cfg.retrieval, data.tasks, data.table, data.camera_distances, trips, data.fingerprint)
