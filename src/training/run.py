"""A training run: check everything, train the stages in order, test what came out."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.checkpoint_file import load_checkpoint
from src.checkpoints.restore import views_of
from src.config.changes import change
from src.config.data_node import build_data, loading
from src.config.targets import check_stored_targets
from src.data import ReIDDataModule
from src.evaluation.calibrating import calibrate
from src.evaluation.embedding import embed
from src.evaluation.measurement import measure, show_results, write_results
from src.evaluation.metrics_record import MetricsRecord, Tasks
from src.evaluation.retrieval_callback import RetrievalEvaluation
from src.evaluation.wandb_tables import run_ends_here
from src.figures.curves import draw_curves
from src.methods.pretrained import PretrainedFeatures
from src.runtime.errors import ConfigError
from src.runtime.run_folder import refuse_finished, run_of
from src.runtime.trainer import build_trainer
from src.training.before_training import check_run
from src.training.stage import Progress, TrainedStage, finished, train_stage

log = logging.getLogger(__name__)


@run_ends_here()
def run(cfg: DictConfig) -> MetricsRecord | None:
    """Trains every stage in order, then tests the outcome of the last.

    Args:
        cfg: The checked configuration of `src.train`.

    Returns:
        What `metrics.json` says; None without tasks, and on all processes but the first.
    """
    data = check_run(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    return test(cfg, train_stages(cfg, data))


def train_stages(cfg: DictConfig, data: Mapping[str, ReIDDataModule]) -> TrainedStage:
    """Trains the stages in order, from `start` on; those that an interrupted run has finished are left as they are.

    Args:
        cfg: The checked configuration.
        data: Each stage's data set, see `check_run`.
    """
    names = [str(name) for name in cfg.stages]
    *earlier, last = names[names.index(cfg.start) if cfg.start else 0 :]
    progress = Progress()
    for name in earlier:
        progress = finished(cfg, name, progress) or train_stage(cfg, name, progress, data[name]).progress
    return train_stage(cfg, last, progress, data[last])


def test(cfg: DictConfig, trained: TrainedStage) -> MetricsRecord | None:
    """Tests the last stage's checkpoint, and what training started from if the configuration asks for it.

    Returns:
        What `metrics.json` says; None without tasks, and on all processes but the first.
    """
    run_dir, trainer = Path(cfg.paths.run_dir), trained.trainer
    data = test_data(cfg, trained)
    untrained = test_untrained(cfg, data) if cfg.compare_untrained and data.tasks else {}
    if trainer.is_global_zero:
        baseline = {task: measured.mAP for task, measured in untrained.items()}
        for stage in sorted(run_dir.glob("stages/*/metrics.csv")):
            draw_curves(stage.parent, run_dir / "figures" / f"curves_{stage.parent.name}.png", baseline)
    checkpoint = trained.folder / f"{cfg.test_checkpoint}.ckpt"
    method = trained.method
    method.load_state_dict(load_checkpoint(checkpoint)["state_dict"])
    method.average_over(views_of(method, cfg.retrieval))
    calibrate(method, data, trainer, trained.evaluation, checkpoint, cfg.get("calibration_images", 0))
    if not data.tasks:
        log.warning("%s has no tasks, so nothing is measured; the weights are in %s.", data.name, checkpoint)
        return None
    embeddings = embed(method, data, trainer, trained.evaluation, checkpoint, run_dir / "embeddings")
    if embeddings is None:
        return None
    measured = measure([embeddings], cfg.retrieval, trained.evaluation.results)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    metrics = write_results(
        measured, run_dir, seed=cfg.seed, config=config, steps=trained.progress.steps, untrained=untrained
    )
    show_results(measured, metrics, run_dir, trainer.loggers)
    return metrics


def test_data(cfg: DictConfig, trained: TrainedStage) -> ReIDDataModule:
    """The last stage's data set; without the test images that it mined for training, as `src.evaluate` has it."""
    stage = cfg.stages[trained.name]
    if not stage.get("mine"):
        return trained.data
    names = trained.method.provenance["names"]
    data = build_data(stage.data, transforms=stage.transforms, sampler=stage.sampler, names=names, **loading(cfg))
    data.setup("test")
    return data


def test_untrained(cfg: DictConfig, data: ReIDDataModule) -> Tasks:
    """The tasks' results with the backbone's pretrained features as they are: what training started from."""
    evaluation = RetrievalEvaluation(metric=cfg.retrieval.metric)
    options = {"logger": False, "enable_checkpointing": False}
    trainer = build_trainer(cfg.trainer, "Untrained features", callbacks=[evaluation], **options)
    trainer.test(PretrainedFeatures(instantiate(cfg.backbone, _convert_="all")), data, verbose=False)
    return {name: result.record() for name, result in evaluation.results.items()}


def interrupted(folder: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of a run that was stopped, to go on with.

    Args:
        folder: The run's.
        overrides: What the command line says; see `change` for what it may.

    Raises:
        ConfigError: If it has no checkpoint yet, is finished, or shall go on with something that cannot change.
    """
    run = run_of(folder)
    checkpoints = sorted(run.glob("stages/*/last.ckpt"), key=lambda path: path.stat().st_mtime)
    refuse_finished(run, resume=folder)
    reid = load_checkpoint(checkpoints[-1])["reid"]
    cfg = OmegaConf.create(reid["config"])
    check_stored_targets(cfg, str(checkpoints[-1]))
    cfg.paths.run_dir = cfg.resume = str(run)
    given = [override for override in overrides if not override.startswith("resume=")]
    if given:
        names = [str(name) for name in cfg.stages]
        change(cfg, _overrides_of(run), given, finished=names[: names.index(reid["stage"])])
    return cfg


def _overrides_of(run: Path) -> list[str]:
    """Overrides that a run was started with, from what Hydra has written."""
    file = run / ".hydra" / "overrides.yaml"
    if not file.is_file():
        raise ConfigError(f"{file} is not there, so resume={run} cannot tell what changes; pass nothing beside resume.")
    return [str(override) for override in OmegaConf.load(file)]
