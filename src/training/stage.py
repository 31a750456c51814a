"""One stage of a training run."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.checkpoint_file import WholeCheckpoints, load_checkpoint
from src.checkpoints.restore import build_method
from src.config.data_node import build_data, loading
from src.config.schema import Stage
from src.data import ReIDDataModule, training_records
from src.evaluation.pseudo_labels import mined_layout
from src.evaluation.retrieval_callback import RetrievalEvaluation
from src.methods.base import ReIDMethod
from src.retrieval import TripModel
from src.runtime.trainer import build_trainer
from src.runtime.whole_files import write_atomically
from src.training.announcement import Announcement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        checkpoint: What the stage before has left; None before the first.
        steps: Optimisation steps of all stages so far, from which the loggers count on.
    """

    checkpoint: Path | None = None
    steps: int = 0


@dataclass(frozen=True)
class TrainedStage:
    """A stage that was just trained.

    Attributes:
        name: The stage's.
        folder: Has its checkpoints, `best.ckpt` and `last.ckpt`.
        method: With the weights of the last step.
        data: What it was trained on.
        trainer: What trained it.
        evaluation: The trainer's callback that evaluates.
        progress: Of the run, this stage included.
    """

    name: str
    folder: Path
    method: ReIDMethod
    data: ReIDDataModule
    trainer: Trainer
    evaluation: RetrievalEvaluation
    progress: Progress


def stage_of(cfg: DictConfig, name: str) -> Stage:
    """Node of a stage as its dataclass."""
    return Stage(**{str(key): value for key, value in cfg.stages[name].items()})


def stage_folder(cfg: DictConfig, name: str) -> Path:
    """The folder of a stage."""
    return Path(cfg.paths.run_dir, "stages", name)


def finished(cfg: DictConfig, name: str, before: Progress) -> Progress | None:
    """The progress after a stage that an interrupted run has finished; None if it has not, or nothing is resumed."""
    last = stage_folder(cfg, name) / "last.ckpt"
    if not cfg.resume or not last.is_file():
        return None
    checkpoint = load_checkpoint(last)
    if checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] < cfg.stages[name].epochs:
        return None
    log.info("Stage %s is finished.", name)
    return Progress(last, before.steps + int(checkpoint["global_step"]))


def train_stage(cfg: DictConfig, name: str, before: Progress, data: ReIDDataModule | None = None) -> TrainedStage:
    """Trains a stage, from its beginning or from where it was stopped.

    Args:
        cfg: The whole configuration.
        name: The stage's.
        before: What came before it.
        data: Its data set, if it was read already; without mined images.
    """
    stage = stage_of(cfg, name)
    folder = stage_folder(cfg, name)
    weights = _weights(stage, before)
    mined = None
    if stage.mine:
        mined = mined_layout(cfg, stage.mine, name, stage.data, folder, weights or before.checkpoint)
    # So that a stage begins with the same classifier whether the run has just trained others, starts here, or goes on.
    seed_everything(cfg.seed, workers=True, verbose=False)
    if data is None or mined is not None:
        data = training_data(cfg, stage, mined)
    log.info("Stage %s, %d epochs on %s: %s", name, stage.epochs, stage.data.name, data.summary())
    method = build_method(cfg, data.num_classes, data.names)
    if weights is not None:
        method.take_over(load_checkpoint(weights)["state_dict"], stage.replace, str(weights), stage.allow_partial)
    method.begin_stage(instantiate(stage.optim, _convert_="all"), stage.freeze, _provenance(cfg, name, data))
    evaluation = RetrievalEvaluation(cfg.retrieval.top_k, cfg.retrieval.metric)
    loggers = [logger(save_dir=str(folder)) for logger in instantiate(cfg.get("logger") or {}).values()]
    trainer = build_trainer(
        cfg.trainer,
        max_epochs=stage.epochs,
        check_val_every_n_epoch=min(cfg.validate_every, stage.epochs),
        logger=loggers,
        # The metric first: checkpoints look at what it logs.
        callbacks=[evaluation, Announcement(), *_callbacks(cfg.callbacks, folder, logged=bool(loggers))],
        plugins=[WholeCheckpoints()],
    )
    # The step that loggers see, so that all stages lie on one axis.
    trainer.fit_loop.epoch_loop._batches_that_stepped = before.steps
    stopped = _prepare_folder(folder, data, trainer, resume=bool(cfg.resume))
    for logger in trainer.loggers:
        logger.log_hyperparams(method.provenance["config"])
    trainer.fit(method, data, ckpt_path=stopped)
    progress = Progress(folder / "last.ckpt", before.steps + trainer.global_step)
    return TrainedStage(name, folder, method, data, trainer, evaluation, progress)


def _weights(stage: Stage, before: Progress) -> Path | None:
    """The checkpoint whose weights a stage starts from; None for the backbone's own."""
    if stage.load is None:
        return None
    if stage.load != "previous":
        return Path(stage.load)
    return before.checkpoint


def training_data(cfg: DictConfig, stage: Stage, mined: Mapping[str, Any] | None = None) -> ReIDDataModule:
    """The data module of a stage, read.

    Args:
        cfg: The whole configuration.
        stage: The stage.
        mined: The node of a layout of further training images.
    """
    kind = get_object(cfg.method._target_)
    data = build_data(
        stage.data,
        transforms=stage.transforms,
        sampler=stage.sampler,
        needs=sorted(kind.needed(cfg.method)),
        class_column=kind.class_column,
        mined=mined,
        repeat_batches=cfg.repeat_batches,
        **loading(cfg),
    )
    data.setup("fit")
    return data


def _provenance(cfg: DictConfig, name: str, data: ReIDDataModule) -> dict[str, Any]:
    """Entries of the stage's checkpoints on themselves."""
    trips = TripModel.fit_records(training_records(data.table), data.camera_distances)
    return {
        "config": OmegaConf.to_container(cfg, resolve=True),
        "stage": name,
        "labels": [list(key) for key in data.labels],
        "names": data.names,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "trips": None if trips is None else asdict(trips),
    }


def _callbacks(node: DictConfig, folder: Path, *, logged: bool) -> list[Callback]:
    """The configured callbacks; those that want a folder get the stage's, and one that only logs needs a logger."""
    made = instantiate(node).values()
    callbacks = [callback(folder) if isinstance(callback, partial) else callback for callback in made]
    return [callback for callback in callbacks if logged or not isinstance(callback, LearningRateMonitor)]


def _prepare_folder(folder: Path, data: ReIDDataModule, trainer: Trainer, *, resume: bool) -> Path | None:
    """Writes what is trained on into a stage's folder, and returns the checkpoint to go on from, if there is one."""
    last = folder / "last.ckpt"
    stopped = last if resume and last.is_file() else None
    if trainer.is_global_zero:  # whatever becomes of the data set
        write_atomically(folder / "table.csv", data.table.to_csv(index_label="row"))
        if stopped and (folder / "metrics.csv").is_file():  # which the logger would start anew
            (folder / "metrics.csv").rename(folder / f"metrics_{len([*folder.glob('metrics*.csv')])}.csv")
    return stopped
