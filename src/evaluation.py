"""Tests a method and writes what was measured."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from src.checkpoint import restore_method
from src.config import ConfigError, check_targets
from src.data import ReIDDataModule
from src.figures import print_metrics, write_rank_lists
from src.methods.base import ReIDMethod
from src.results import file_sha, write_embeddings, write_metrics


def build_data(cfg: DictConfig, stage: DictConfig, needs: frozenset[str] = frozenset()) -> ReIDDataModule:
    """The data module of a stage.

    Args:
        cfg: The whole configuration: loader settings and seed.
        stage: The stage, or anything else with `data`, `transforms` and, for training, `sampler`.
        needs: Columns the method cannot do without.
    """
    return ReIDDataModule(
        layout=instantiate(stage.data.layout),
        tasks=list(stage.data.tasks),
        ap=stage.data.ap,
        transforms=instantiate(stage.transforms, _convert_="all"),
        sampler=instantiate(stage.sampler) if "sampler" in stage else None,
        workers=cfg.workers,
        eval_batch_size=cfg.eval_batch_size,
        seed=cfg.seed,
        needs=needs,
        repeat_batches=cfg.get("repeat_batches", False),
    )


def build_trainer(cfg: DictConfig, **options: Any) -> Trainer:
    """The Lightning trainer of the group `trainer`, with a stage's own options on top."""
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=gpu, but torch sees no GPU on this machine; pass trainer=cpu.")
    # Our samplers are right under DDP; Lightning's replacement would tear the identities of a batch apart.
    return instantiate(cfg.trainer, use_distributed_sampler=False, num_sanity_val_steps=0, **options)


def run(cfg: DictConfig) -> dict[str, Any]:
    """Tests a checkpoint on its own data set or another one.

    Args:
        cfg: The configuration of `src.evaluate`.

    Returns:
        What `metrics.json` says.
    """
    check_targets(cfg)
    refuse_finished(Path(cfg.paths.run_dir))
    seed_everything(cfg.seed, workers=True, verbose=False)
    checkpoint = Path(cfg.checkpoint)
    method = restore_method(checkpoint)
    saved = OmegaConf.create(method.provenance["config"])
    stage = saved.stages[method.provenance["stage"]]
    chosen = OmegaConf.to_container(cfg.data, resolve=True) if cfg.get("data") else stage.data
    test_stage = OmegaConf.create({"data": chosen, "transforms": stage.transforms})
    check_targets(test_stage)  # part of it comes from the checkpoint
    data = build_data(cfg, test_stage)
    trainer = build_trainer(cfg, logger=False, enable_checkpointing=False)
    return test(cfg, method, data, trainer, checkpoint)


def refuse_finished(run_dir: Path) -> None:
    """Refuses a run folder that already holds results."""
    if (run_dir / "metrics.json").exists():
        raise ConfigError(f"{run_dir} already holds the results of a run; pass another folder as hydra.run.dir.")


def test(
    cfg: DictConfig,
    method: ReIDMethod,
    data: ReIDDataModule,
    trainer: Trainer,
    checkpoint: Path,
    **extra: Any,
) -> dict[str, Any]:
    """Tests a method and writes `metrics.json`, the embeddings folder and the pictures; prints the table.

    Args:
        cfg: The configuration of the command.
        method: With its weights.
        data: The data set.
        trainer: Runs the test.
        checkpoint: The file the weights came from.
        extra: More entries of `metrics.json`.

    Returns:
        What `metrics.json` says, empty on all processes but the first.
    """
    trainer.test(method, data, verbose=False)
    if not trainer.is_global_zero:
        return {}
    folder = Path(cfg.paths.run_dir)
    measured_with = {
        "checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}",
        "checkpoint_sha": file_sha(checkpoint),
        "precision": str(trainer.precision),
        "device": str(trainer.strategy.root_device),
        "data": {"name": data.name, "fingerprint": data.fingerprint},
    }
    config = OmegaConf.to_container(cfg, resolve=True)
    retrieval = method.retrieval
    metrics = write_metrics(
        folder / "metrics.json", retrieval.results, seed=cfg.seed, **measured_with, **extra, config=config
    )
    write_embeddings(folder / "embeddings", retrieval.embeddings, retrieval.embedded_rows, data.table, measured_with)
    write_rank_lists(folder / "figures", retrieval, data, **cfg.retrieval)
    print_metrics(metrics)
    return metrics
