"""Test sets embedded with a method, into embeddings folders."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.calibration_entry import calibration_of
from src.checkpoints.engines import named
from src.checkpoints.restore import options_at_test, saved_stage
from src.config.data_node import build_data
from src.config.schema import EngineChoice
from src.config.targets import check_stored_targets
from src.data import ReIDDataModule
from src.embed import Network
from src.evaluation.engine_embedding import EngineEmbedding
from src.evaluation.retrieval_callback import RetrievalEvaluation
from src.methods.base import ReIDMethod
from src.retrieval import DataVersion, Embeddings, EmbeddingsMeta, TripModel, write_embeddings
from src.runtime.errors import ConfigError
from src.runtime.json_files import record_of
from src.runtime.provenance import file_sha

log = logging.getLogger(__name__)


def evaluation_data(
    method: ReIDMethod, node: DictConfig | None, contamination: Any = None, **options: Any
) -> ReIDDataModule:
    """The data module to test a restored method on, with the image transforms of its stage.

    Args:
        method: As its checkpoint has it.
        node: The data set; None for the one the method was trained on.
        contamination: A node, to damage the images with.
        options: Further arguments of the data module: how to load images, other tasks.

    Raises:
        ConfigError: If the checkpoint names classes of somebody else.
    """
    saved = saved_stage(method)
    chosen = OmegaConf.to_container(node, resolve=True) if node else saved.data
    nodes = OmegaConf.create({"data": chosen, "transforms": saved.transforms})
    check_stored_targets(
        nodes if node is None else OmegaConf.create({"transforms": saved.transforms}), "The checkpoint"
    )
    if contamination is not None:
        nodes.transforms.contamination = contamination
    return build_data(nodes.data, transforms=nodes.transforms, names=method.provenance.get("names"), **options)


def embed(
    method: ReIDMethod,
    data: ReIDDataModule,
    trainer: Trainer,
    evaluation: RetrievalEvaluation,
    checkpoint: Path,
    folder: Path,
    engine: EngineChoice = "torch",
) -> Embeddings | None:
    """Embeds every image of a data set's tasks, or without tasks of its test set, and writes the embeddings folder.

    Args:
        method: With its weights and views.
        data: The data set.
        trainer: Runs the test.
        evaluation: The trainer's; it has the tasks' plain results afterwards.
        checkpoint: The file the weights came from.
        folder: Where the embeddings go.
        engine: What computes them, see `src.embed.network.Network`.

    Returns:
        None on all processes but the first.

    Raises:
        ConfigError: If the data set has no test images.
    """
    data.setup("test")
    if len(data.eval_rows) == 0:
        raise ConfigError(f"Data set {data.name!r} has only training images; choose other data to evaluate on.")
    network = Network(method, checkpoint, engine, trainer.strategy.root_device, str(trainer.precision))
    tested = method if engine == "torch" else EngineEmbedding(method, network, len(data.eval_rows))
    trainer.test(tested, data, verbose=False)
    if not trainer.is_global_zero:
        return None
    features, rows = evaluation.embeddings.features, evaluation.embeddings.rows
    meta = embeddings_meta(method, data, trainer, checkpoint, named(network.engine))
    meta = replace(meta, dimensions=features.shape[1])
    embeddings = Embeddings(features, rows, data.table, data.camera_distances, meta)
    write_embeddings(folder, embeddings)
    return embeddings


def embeddings_meta(
    method: ReIDMethod, data: ReIDDataModule, trainer: Trainer, checkpoint: Path, engine: str = "torch"
) -> EmbeddingsMeta:
    """Record of what embeddings depend on, and of what is needed to evaluate them."""
    trips, damage = method.provenance.get("trips"), data.transforms.contamination
    return EmbeddingsMeta(
        checkpoint=f"{checkpoint.parent.name}/{checkpoint.name}",
        checkpoint_sha=file_sha(checkpoint),
        precision=str(trainer.precision),
        device=str(trainer.strategy.root_device),
        engine=engine,
        data=DataVersion(data.name, data.fingerprint),
        evaluation=data.evaluation,
        holdout=data.holdout,
        trips=None if trips is None else record_of(TripModel, trips),
        views=asdict(method.views),
        method=options_at_test(method),
        contamination=None if damage is None else asdict(damage),
        calibration=calibration_of(method.provenance),
    )
