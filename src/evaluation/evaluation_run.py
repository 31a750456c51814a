"""An evaluation: checkpoints on a data set, or embeddings that a run has left."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.restore import restore_method, views_of
from src.config.checks import one_or_more
from src.config.data_node import loading
from src.data import ReIDDataModule
from src.evaluation.embedding import embed, embeddings_meta, evaluation_data
from src.evaluation.loggers import open_loggers
from src.evaluation.measurement import measure, show_results, write_results
from src.evaluation.metrics_record import MetricsRecord
from src.evaluation.rehearsal import rehearse
from src.evaluation.retrieval_callback import RetrievalEvaluation
from src.evaluation.untrained import refuse_backbone, write_untrained
from src.evaluation.wandb_tables import run_ends_here
from src.figures.attention_maps import write_attention
from src.figures.explanation import write_explanation
from src.methods.base import ReIDMethod
from src.retrieval import Embeddings, EmbeddingsMeta, TripModel, make_steps, read_embeddings, read_meta
from src.retrieval.embeddings import META_FILE
from src.runtime.errors import ConfigError
from src.runtime.json_files import as_plain, record_of
from src.runtime.run_folder import refuse_finished
from src.runtime.sweeps import sweep_of
from src.runtime.trainer import build_trainer

log = logging.getLogger(__name__)


@run_ends_here()
def run(cfg: DictConfig) -> MetricsRecord | None:
    """Evaluates checkpoints, on their own data set or another one, a backbone, or embeddings that a run has left.

    Args:
        cfg: The configuration of `src.evaluate`.

    Returns:
        What `metrics.json` says; None without tasks, and on all processes but the first.
    """
    run_dir = Path(cfg.paths.run_dir)
    refuse_finished(run_dir)
    given = [key for key in ("checkpoint", "checkpoints", "embeddings", "untrained") if cfg[key]]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ConfigError(f"Pass one of checkpoint, checkpoints, embeddings and untrained=true, not {found}.")
    make_steps(cfg.retrieval.steps, cfg.retrieval)  # before the work, not after it
    if given == ["untrained"]:
        sources = [write_untrained(cfg, run_dir)]
    else:
        refuse_backbone(cfg)
        sources = [Path(path) for path in one_or_more(cfg[given[0]])]
    if given == ["embeddings"]:
        _refuse_what_needs_images(cfg)
        models: list[Embeddings | None] = [read_embeddings(folder) for folder in sources]
    else:
        folders = [
            f"embeddings_{number}" if len(sources) > 1 else "embeddings" for number in range(1, len(sources) + 1)
        ]
        models = [
            _embed(cfg, checkpoint, run_dir / folder, len(sources))
            for checkpoint, folder in zip(sources, folders, strict=True)
        ]
    whole = [model for model in models if model is not None]
    if not whole:  # only the first process of several has embeddings
        return None
    measured = measure(whole, cfg.retrieval)
    if not measured.results:
        return None
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    metrics = write_results(measured, run_dir, seed=cfg.seed, config=config)
    show_results(measured, metrics, run_dir, open_loggers(cfg))
    return metrics


def _refuse_what_needs_images(cfg: DictConfig) -> None:
    """Refuses, for embeddings that are made already, what changes how they are made."""
    views = cfg.retrieval.flip is not None or cfg.retrieval.scales is not None
    options = any(value is not None for value in cfg.method.values())
    if views or options or cfg.get("data") or cfg.attention or cfg.explain or _contaminated(cfg):
        raise ConfigError(
            "Embeddings are made already: data, method, contamination, attention, explain, retrieval.flip and "
            "retrieval.scales need checkpoint=."
        )


def _contaminated(cfg: DictConfig) -> bool:
    """Whether the configuration asks for damaged images: one of kind and share is enough to say so."""
    return cfg.contamination.kind is not None or cfg.contamination.share is not None


def _embed(cfg: DictConfig, checkpoint: Path, folder: Path, models: int) -> Embeddings | None:
    """Embeds the data set with a checkpoint's method, unless another job of the sweep has; see `embed`.

    Args:
        cfg: The configuration of `src.evaluate`.
        checkpoint: The checkpoint.
        folder: Where the embeddings go.
        models: How many checkpoints are evaluated together.
    """
    seed_everything(cfg.seed, workers=True, verbose=False)
    method = restore_method(checkpoint, cfg.method)
    if cfg.explain and not method.explanation:
        raise ConfigError(
            f"explain={cfg.explain} draws what DNDM's modules do to images, step by step, and this "
            f"{type(method).__name__} has none of them; attention={cfg.explain} draws where any method's features are "
            "strong."
        )
    method.average_over(views_of(method, cfg.retrieval))
    data = evaluation_data(method, cfg.get("data"), cfg.contamination if _contaminated(cfg) else None, **loading(cfg))
    evaluation = RetrievalEvaluation(cfg.retrieval.top_k, cfg.retrieval.metric)
    trainer = build_trainer(cfg.trainer, logger=False, enable_checkpointing=False, callbacks=[evaluation])
    data.setup("test")
    trips = method.provenance.get("trips")
    rehearse(
        cfg.retrieval,
        data.tasks,
        data.table,
        data.camera_distances,
        None if trips is None else record_of(TripModel, trips),
        data.fingerprint,
        models,
    )
    made = _of_another_job(cfg.engine, folder, method, data, trainer, checkpoint) if trainer.world_size == 1 else None
    embeddings = made or embed(method, data, trainer, evaluation, checkpoint, folder, cfg.engine)
    if embeddings is not None:
        _draw(cfg, method, data, folder)
    return embeddings


def _draw(cfg: DictConfig, method: ReIDMethod, data: ReIDDataModule, folder: Path) -> None:
    """Draws where the method looks and what its modules do, if that is asked for."""

    def picture(name: str) -> Path:
        return folder.parent / "figures" / f"{folder.name.replace('embeddings', name)}.png"

    if cfg.attention:
        write_attention(picture("attention"), method, data.eval_dataset(), data.eval_rows, cfg.attention)
    if cfg.explain:
        out = picture("explain")
        write_explanation(out, method, data.eval_dataset(), data.table, data.eval_rows, cfg.explain)
        log.info("%s shows %s.", out, method.explanation)


def _of_another_job(
    engine: str, folder: Path, method: ReIDMethod, data: ReIDDataModule, trainer: Trainer, checkpoint: Path
) -> Embeddings | None:
    """The same embeddings, made by another job of this sweep over what comes after them; None if there are none."""
    if (sweep := sweep_of(folder.parent)) is None:
        return None
    wanted = as_plain(embeddings_meta(method, data, trainer, checkpoint))
    for file in sorted(sweep.glob(f"*/{folder.name}/{META_FILE}")):
        meta = read_meta(file.parent, EmbeddingsMeta)
        same_engine = engine == "auto" or engine == (meta.engine or "torch").partition(" ")[0]
        if same_engine and as_plain(replace(meta, dimensions=None, engine="torch")) == wanted:
            log.info("The embeddings are those of %s.", file.parent)
            return read_embeddings(file.parent)
    return None
