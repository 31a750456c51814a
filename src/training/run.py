"""The loop over a run's stages."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.checkpoint_file import WholeCheckpoints, load_checkpoint
from src.checkpoints.restore import build_method
from src.config.schema import Stage
from src.data import ReIDDataModule, training_records
from src.evaluation.evaluation_run import build_data, embed, refuse_finished
from src.evaluation.measurement import measure
from src.evaluation.pseudo_labels import mine_for_stage, stage_options
from src.evaluation.wandb_tables import run_ends_here
from src.figures.curves import draw_curves
from src.methods.base import ReIDMethod
from src.methods.pretrained import PretrainedFeatures
from src.retrieval import TripModel, make_steps
from src.runtime.errors import ConfigError
from src.runtime.trainer import build_trainer
from src.runtime.whole_files import write_atomically
from src.training.callbacks import SaveWhenTerminated, StopWhenNotFinite

log = logging.getLogger(__name__)


def interrupted(folder: str) -> DictConfig:
    """The configuration of a run that was stopped, to go on with.

    Args:
        folder: The run's.

    Raises:
        ConfigError: If it has no checkpoint yet.
    """
    found = sorted(Path(folder).glob("stages/*/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ConfigError(f"resume={folder} has no stages/<stage>/last.ckpt yet; start the run again without resume.")
    cfg = OmegaConf.create(load_checkpoint(found[-1])["reid"]["config"])
    cfg.paths.run_dir = cfg.resume = folder
    return cfg


@run_ends_here()
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
    names = [str(name) for name in cfg.stages]
    for said in cfg.stages.values():
        if said.get("mine"):
            stage_options(said)  # likewise
    if not names:
        raise ConfigError("stages is empty; a run needs at least one.")
    if cfg.start is not None and cfg.start not in names:
        raise ConfigError(f"start is {cfg.start!r}, expected one of the stages {', '.join(names)}.")
    previous: Path | None = None
    steps = 0
    for name in names[names.index(cfg.start) if cfg.start else 0 :]:
        folder = run_dir / "stages" / name
        if cfg.resume and name != names[-1] and (done := _steps_of_finished(folder, cfg.stages[name].epochs)):
            log.info("Stage %s is finished.", name)
            previous, steps = folder / "last.ckpt", steps + done
            continue
        method, data, trainer = train_stage(cfg, name, folder, previous, steps)
        previous, steps = folder / "last.ckpt", steps + trainer.global_step
    if cfg.stages[name].get("mine"):  # tested on the data set alone, as src.evaluate does
        data = build_data(cfg, cfg.stages[name])
        data.setup("test")
    untrained = test_untrained(cfg, data) if cfg.compare_untrained and data.tasks else {}
    if trainer.is_global_zero:
        baseline = {task: measured["mAP"] for task, measured in untrained.items()}
        for stage in sorted(run_dir.glob("stages/*/metrics.csv")):
            draw_curves(stage.parent, run_dir / "figures" / f"curves_{stage.parent.name}.png", baseline)
    checkpoint = folder / f"{cfg.test_checkpoint}.ckpt"
    method.load_state_dict(load_checkpoint(checkpoint)["state_dict"])
    metrics, embeddings = {}, None
    if data.tasks:
        embeddings = embed(cfg, method, data, trainer, checkpoint, run_dir / "embeddings")
    else:
        log.warning("%s has no tasks, so nothing is measured; the weights are in %s.", data.name, checkpoint)
    if embeddings is not None:
        metrics = measure(cfg, [embeddings], method.retrieval.results, steps=steps, untrained=untrained)
    return metrics


def train_stage(
    cfg: DictConfig, name: str, folder: Path, previous: Path | None = None, first_step: int = 0
) -> tuple[ReIDMethod, ReIDDataModule, Trainer]:
    """Trains one stage, from its beginning or from where it was stopped; its checkpoints are `folder/{best,last}.ckpt`.

    Args:
        cfg: The whole configuration.
        name: The stage's.
        folder: The stage's.
        previous: Checkpoint of the stage before.
        first_step: Steps of the stages before, from which the loggers count on.
    """
    stage = Stage(**{str(key): value for key, value in cfg.stages[name].items()})
    given = None if stage.load is None else Path(stage.load)
    source = previous if stage.load == "previous" else given
    if stage.load == "previous" and previous is None and cfg.start:
        raise ConfigError(
            f"start={name}, but the stage loads the weights of the one before; pass stages.{name}.load=<checkpoint>."
        )
    mined = mine_for_stage(cfg, name, folder, source or previous) if stage.mine else None
    # So that a stage begins with the same classifier whether the run has just trained others, starts here, or goes on.
    seed_everything(cfg.seed, workers=True, verbose=False)
    kind = get_object(cfg.method._target_)
    data = build_data(cfg, cfg.stages[name], kind.needed(cfg.method), kind.target, mined)
    data.setup("fit")
    log.info("Stage %s, %d epochs on %s: %s", name, stage.epochs, stage.data.name, data.summary())
    trips = TripModel.fit_records(training_records(data.table), data.camera_distances)
    method = build_method(cfg, data.num_classes, data.names)
    for other in cfg.stages.values():
        method.check_parts(other.get("freeze", ()))  # before the first stage is trained, not after it
    if source is not None:
        method.take_over(load_checkpoint(source)["state_dict"], stage.replace, str(source), stage.allow_partial)
    method.freeze_parts(stage.freeze)
    method.optim = instantiate(stage.optim, _convert_="all")
    method.provenance = {
        "config": OmegaConf.to_container(cfg, resolve=True),
        "stage": name,
        "labels": [list(key) for key in data.labels],
        "names": data.names,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "trips": None if trips is None else asdict(trips),
    }
    best = ModelCheckpoint(folder, "best", monitor="val/mAP", mode="max", enable_version_counter=False)
    last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    watching = [SaveWhenTerminated(folder / "last.ckpt"), StopWhenNotFinite(folder)]
    trainer = build_trainer(
        cfg,
        max_epochs=stage.epochs,
        check_val_every_n_epoch=min(cfg.validate_every, stage.epochs),
        logger=[logger(save_dir=str(folder)) for logger in instantiate(cfg.logger).values()],
        callbacks=[*instantiate(cfg.callbacks).values(), best, last, *watching],
        plugins=[WholeCheckpoints()],
    )
    if trainer.is_global_zero:  # what was trained on, whatever becomes of the data set
        write_atomically(folder / "table.csv", data.table.to_csv(index_label="row"))
    # The step that loggers see, so that all stages lie on one axis.
    trainer.fit_loop.epoch_loop._batches_that_stepped = first_step
    stopped = folder / "last.ckpt" if cfg.resume and (folder / "last.ckpt").is_file() else None
    if stopped and trainer.is_global_zero and (folder / "metrics.csv").is_file():  # which the logger would start anew
        (folder / "metrics.csv").rename(folder / f"metrics_{len([*folder.glob('metrics*.csv')])}.csv")
    for logger in trainer.loggers:
        logger.log_hyperparams(method.provenance["config"])
    trainer.fit(method, data, ckpt_path=stopped)
    return method, data, trainer


def _steps_of_finished(folder: Path, epochs: int) -> int:
    """Steps of a stage that an interrupted run has finished, 0 if it has not."""
    if not (folder / "last.ckpt").is_file():
        return 0
    checkpoint = load_checkpoint(folder / "last.ckpt")
    epoch = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    return int(checkpoint["global_step"]) if epoch["processed"] >= epochs else 0


def test_untrained(cfg: DictConfig, data: ReIDDataModule) -> dict[str, Any]:
    """The tasks' results with the backbone's pretrained features as they are: what training started from."""
    method = PretrainedFeatures(instantiate(cfg.backbone, _convert_="all"))
    trainer = build_trainer(cfg, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.test(method, data, verbose=False)
    return {name: result.as_dict() for name, result in method.retrieval.results.items()}
