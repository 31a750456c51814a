"""The loop over a run's stages."""

import logging
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from src.checkpoint import build_method, load_checkpoint
from src.config import ConfigError
from src.data import ReIDDataModule
from src.evaluation import build_data, build_trainer, embed, refuse_finished
from src.figures import draw_curves
from src.measurement import measure
from src.methods.base import ReIDMethod
from src.methods.pretrained import PretrainedFeatures
from src.retrieval import TripModel, make_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One entry of the ordered mapping `stages`: everything that may differ from one stage to the next.

    Attributes:
        data: The data set, a node of the group `data`.
        epochs: How long.
        optim: A node of the group `optim`.
        sampler: The batch sampler, a partial.
        transforms: The image transforms.
    """

    data: Any
    epochs: int
    optim: Any
    sampler: Any
    transforms: Any


@dataclass(frozen=True)
class TrainConfig:
    """The top-level keys of `conf/train.yaml`; see there for what each means."""

    name: Any
    seed: Any
    epochs: Any
    validate_every: Any
    test_checkpoint: Any
    compare_untrained: Any
    workers: Any
    eval_batch_size: Any
    repeat_batches: Any
    method: Any
    backbone: Any
    data: Any
    optim: Any
    sampler: Any
    transforms: Any
    stages: Any
    trainer: Any
    retrieval: Any
    logger: Any
    callbacks: Any
    paths: Any


def run(cfg: DictConfig) -> dict[str, Any]:
    """Trains every stage in order, then tests the outcome of the last.

    Args:
        cfg: The checked configuration of `src.train`.

    Returns:
        What `metrics.json` says.
    """
    run_dir = Path(cfg.paths.run_dir)
    refuse_finished(run_dir)
    make_steps(cfg.retrieval.steps, cfg.retrieval)  # a wrong name is refused before training, not after it
    seed_everything(cfg.seed, workers=True, verbose=False)
    method: ReIDMethod | None = None
    steps = 0
    for name in cfg.stages:
        folder = run_dir / "stages" / str(name)
        method, data, trainer = train_stage(cfg, str(name), folder, previous=method)
        steps += trainer.global_step
    if method is None:
        raise ConfigError("stages is empty; a run needs at least one.")
    untrained = test_untrained(cfg, data) if cfg.compare_untrained and data.tasks else {}
    if trainer.is_global_zero and (folder / "metrics.csv").is_file():
        baseline = {task: measured["mAP"] for task, measured in untrained.items()}
        draw_curves(folder / "metrics.csv", run_dir / "figures" / "curves.png", baseline)
    checkpoint = folder / f"{cfg.test_checkpoint}.ckpt"
    method.load_state_dict(load_checkpoint(checkpoint)["state_dict"])
    metrics, embeddings = {}, None
    if data.tasks:
        embeddings = embed(cfg, method, data, trainer, checkpoint, run_dir / "embeddings")
    else:
        log.warning("%s has no tasks, so nothing is measured; the weights are in %s.", data.name, checkpoint)
    if embeddings is not None:
        metrics = measure(cfg, [embeddings], method.retrieval.results, steps=steps, untrained=untrained)
    if (wandb := sys.modules.get("wandb")) is not None and wandb.run is not None:
        wandb.finish()  # else the next run of a sweep, in this same process, would go on with it
    return metrics


def train_stage(
    cfg: DictConfig, name: str, folder: Path, previous: ReIDMethod | None = None
) -> tuple[ReIDMethod, ReIDDataModule, Trainer]:
    """Trains one stage; its checkpoints are `folder/{best,last}.ckpt`.

    Args:
        cfg: The whole configuration.
        name: The stage's.
        folder: The stage's.
        previous: The method whose weights the stage goes on with.
    """
    stage = cfg.stages[name]
    data = build_data(cfg, stage, get_object(cfg.method._target_).needs)
    data.setup("fit")
    log.info("Stage %s, %d epochs on %s: %s", name, stage.epochs, stage.data.name, data.summary())
    trips = TripModel.fit_records(data.table[data.table["split"] == "train"], data.camera_distances)
    method = build_method(cfg, data.num_classes)
    if previous is not None:
        method.continue_from(previous)
    method.optim = instantiate(stage.optim, _convert_="all")
    method.provenance = {
        "config": OmegaConf.to_container(cfg, resolve=True),
        "stage": name,
        "labels": [list(key) for key in data.labels],
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "trips": None if trips is None else asdict(trips),
    }
    # Lightning writes a checkpoint beside its place and then moves it, so a killed run keeps the previous one whole.
    best = ModelCheckpoint(folder, "best", monitor="val/mAP", mode="max", enable_version_counter=False)
    last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = build_trainer(
        cfg,
        max_epochs=stage.epochs,
        check_val_every_n_epoch=min(cfg.validate_every, stage.epochs),
        logger=[logger(save_dir=str(folder)) for logger in instantiate(cfg.logger).values()],
        callbacks=[*instantiate(cfg.callbacks).values(), best, last],
    )
    for logger in trainer.loggers:
        logger.log_hyperparams(method.provenance["config"])
    trainer.fit(method, data)
    return method, data, trainer


def test_untrained(cfg: DictConfig, data: ReIDDataModule) -> dict[str, Any]:
    """The tasks' results with the backbone's pretrained features as they are: what training started from."""
    method = PretrainedFeatures(instantiate(cfg.backbone, _convert_="all"))
    trainer = build_trainer(cfg, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.test(method, data, verbose=False)
    return {name: result.as_dict() for name, result in method.retrieval.results.items()}
