"""Evaluates checkpoints and embeddings."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.restore import restore_method, saved_stage, views_of
from src.config.checks import check_targets, one_or_more
from src.config.pools import complete_pools
from src.data import ReIDDataModule
from src.data.layouts import Layout
from src.evaluation.measurement import measure
from src.evaluation.wandb_tables import run_ends_here
from src.figures.attention_maps import write_attention
from src.methods.base import ReIDMethod
from src.retrieval import Embeddings, make_steps, read_embeddings, write_embeddings
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha
from src.runtime.sweeps import sweep_of
from src.runtime.trainer import build_trainer

log = logging.getLogger(__name__)


def build_data(
    cfg: DictConfig,
    stage: DictConfig,
    needs: frozenset[str] = frozenset(),
    target: str = "vehicle_id",
    mined: Layout | None = None,
) -> ReIDDataModule:
    """The data module of a stage.

    Args:
        cfg: The whole configuration: loader settings and seed.
        stage: The stage, or anything else with `data`, `transforms` and, for training, `sampler`.
        needs: Columns the method cannot do without.
        target: Column whose values are the classes.
        mined: Parser of more training images.
    """
    return ReIDDataModule(
        layout=instantiate(stage.data.layout, _convert_="all"),
        tasks=list(stage.data.tasks),
        ap=stage.data.ap,
        trials=stage.data.get("trials", 10),
        trial_seed=stage.data.get("trial_seed", 0),
        transforms=instantiate(stage.transforms, _convert_="all"),
        sampler=instantiate(stage.sampler) if "sampler" in stage else None,
        workers=cfg.workers,
        eval_batch_size=cfg.eval_batch_size,
        seed=cfg.seed,
        needs=needs,
        repeat_batches=cfg.get("repeat_batches", False),
        extra=stage.data.get("extra"),
        holdout=stage.data.get("holdout", 0),
        target=target,
        mined=mined,
    )


@run_ends_here()
def run(cfg: DictConfig) -> dict[str, Any]:
    """Evaluates checkpoints, on their own data set or another one, or embeddings that a run has left.

    Args:
        cfg: The configuration of `src.evaluate`.

    Returns:
        What `metrics.json` says.
    """
    complete_pools(cfg)
    check_targets(cfg)
    run_dir = Path(cfg.paths.run_dir)
    refuse_finished(run_dir)
    given = [key for key in ("checkpoint", "checkpoints", "embeddings") if cfg[key]]
    if len(given) != 1:
        raise ConfigError(f"Pass one of checkpoint, checkpoints and embeddings, not {' and '.join(given) or 'none'}.")
    make_steps(cfg.retrieval.steps, cfg.retrieval)  # before the work, not after it
    sources = [Path(path) for path in one_or_more(cfg[given[0]])]
    if given == ["embeddings"]:
        looks = cfg.retrieval.flip is not None or cfg.retrieval.scales is not None
        if looks or cfg.get("data") or cfg.attention or contaminated(cfg):
            raise ConfigError(
                "Embeddings are made already: data, contamination, attention, retrieval.flip and retrieval.scales need "
                "checkpoint=."
            )
        return measure(cfg, [read_embeddings(folder) for folder in sources])
    models = []
    for number, checkpoint in enumerate(sources, start=1):
        folder = run_dir / ("embeddings" if len(sources) == 1 else f"embeddings_{number}")
        models.append(_embed(cfg, checkpoint, folder))
    # Only the first process of several has embeddings.
    return measure(cfg, [model for model in models if model is not None]) if models[0] is not None else {}


def evaluation_stage(method: ReIDMethod, data: DictConfig | None) -> DictConfig:
    """What `build_data` needs to test a restored method: `data` and `transforms`.

    Args:
        method: As its checkpoint has it.
        data: The data set; None for the one it was trained on.

    Raises:
        ConfigError: If the checkpoint names classes of somebody else.
    """
    saved = saved_stage(method)
    chosen = OmegaConf.to_container(data, resolve=True) if data else saved.data
    stage = OmegaConf.create({"data": chosen, "transforms": saved.transforms})
    check_targets(stage)
    return stage


def _embed(cfg: DictConfig, checkpoint: Path, folder: Path) -> Embeddings | None:
    """Embeds the data set with a checkpoint's method, unless another job of the sweep has; see `embed`."""
    seed_everything(cfg.seed, workers=True, verbose=False)
    method = restore_method(checkpoint)
    method.views = views_of(method, cfg.retrieval)
    stage = evaluation_stage(method, cfg.get("data"))
    if contaminated(cfg):
        stage.transforms.contamination = cfg.contamination
    data = build_data(cfg, stage)
    trainer = build_trainer(cfg, logger=False, enable_checkpointing=False)
    data.setup("test")
    made = _of_another_job(folder, method, data, trainer, checkpoint) if trainer.world_size == 1 else None
    embeddings = made or embed(cfg, method, data, trainer, checkpoint, folder)
    if cfg.attention and embeddings is not None:
        picture = f"{folder.name.replace('embeddings', 'attention')}.png"
        write_attention(folder.parent / "figures" / picture, method, data.eval_dataset(), data.eval_rows, cfg.attention)
    return embeddings


def contaminated(cfg: DictConfig) -> bool:
    """Whether the configuration asks for damaged images: one of kind and share is enough to say so."""
    return cfg.contamination.kind is not None or cfg.contamination.share is not None


def refuse_finished(run_dir: Path) -> None:
    """Refuses a run folder that already holds results."""
    if (run_dir / "metrics.json").exists():
        raise ConfigError(f"{run_dir} already holds the results of a run; pass another folder as hydra.run.dir.")


def embed(
    cfg: DictConfig,
    method: ReIDMethod,
    data: ReIDDataModule,
    trainer: Trainer,
    checkpoint: Path,
    folder: Path,
) -> Embeddings | None:
    """Embeds every image of a data set's tasks, or without tasks of its test set, and writes the embeddings folder.

    Args:
        cfg: The configuration of the command.
        method: With its weights; `method.retrieval` has the tasks' plain results afterwards.
        data: The data set.
        trainer: Runs the test.
        checkpoint: The file the weights came from.
        folder: Where the embeddings go.

    Returns:
        None on all processes but the first.
    """
    data.setup("test")
    if len(data.eval_rows) == 0:
        raise ConfigError(f"Data set {data.name!r} has only training images; choose other data to evaluate on.")
    method.views = views_of(method, cfg.retrieval)
    method.top_k = cfg.retrieval.top_k
    trainer.test(method, data, verbose=False)
    if not trainer.is_global_zero:
        return None
    found = method.retrieval.embeddings
    meta = _meta(method, data, trainer, checkpoint) | {"dimensions": found.features.shape[1]}
    embeddings = Embeddings(found.features, found.rows, data.table, data.camera_distances, meta)
    write_embeddings(folder, embeddings)
    return embeddings


def _meta(method: ReIDMethod, data: ReIDDataModule, trainer: Trainer, checkpoint: Path) -> dict[str, Any]:
    """What embeddings depend on, and what is needed to evaluate them."""
    return {
        "checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}",
        "checkpoint_sha": file_sha(checkpoint),
        "precision": str(trainer.precision),
        "device": str(trainer.strategy.root_device),
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "evaluation": data.evaluation,
        "holdout": data.holdout,
        "trips": method.provenance.get("trips"),
        "views": asdict(method.views),
        "contamination": None if data.transforms.contamination is None else asdict(data.transforms.contamination),
    }


def _of_another_job(
    folder: Path, method: ReIDMethod, data: ReIDDataModule, trainer: Trainer, checkpoint: Path
) -> Embeddings | None:
    """The same embeddings, made by another job of this sweep over what comes after them; None if there are none."""
    if (sweep := sweep_of(folder.parent)) is None:
        return None
    wanted = json.loads(json.dumps(_meta(method, data, trainer, checkpoint)))  # tuples as lists, as in the file
    for written in sorted(sweep.glob(f"*/{folder.name}/meta.json")):
        said = json.loads(written.read_text(encoding="utf-8"))
        if {key: said.get(key) for key in wanted} == wanted:
            log.info("The embeddings are those of %s.", written.parent)
            return read_embeddings(written.parent)
    return None
