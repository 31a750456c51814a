"""Mines identities in a test set whose vehicles are unknown, and writes them as training images."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig
from torch import Tensor

from src.checkpoints.restore import restore_method, views_of
from src.config.data_node import loading
from src.data import known
from src.data.layouts.pool import once
from src.evaluation.embedding import embed, evaluation_data
from src.evaluation.retrieval_callback import RetrievalEvaluation
from src.retrieval import Embeddings, Mining, kmeans_labels, mine_identities, purity, read_embeddings
from src.retrieval.relevance import Integers
from src.runtime.errors import ConfigError
from src.runtime.json_files import write_json
from src.runtime.progress import working
from src.runtime.trainer import build_trainer
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)

#: What the file says of an image. Not colour and type, which are labels as the vehicle is.
_WRITTEN = ("path", "vehicle_id", "split", "camera_id", "track_id", "timestamp", "domain", "box", "mask")
#: The smallest pseudo-identity, so that none is mistaken for a vehicle of the data set.
_FIRST_ID = 1_000_000


def run(cfg: DictConfig) -> Path | None:
    """Mines with a checkpoint, or in embeddings that a run has left.

    Args:
        cfg: The configuration of `src.mine`.

    Returns:
        The file; None on all processes but the first.
    """
    options = Mining(**cfg.mine)
    if bool(cfg.checkpoint) == bool(cfg.embeddings):
        raise ConfigError("Pass either checkpoint or embeddings.")
    folder = Path(cfg.paths.run_dir)
    embeddings: Embeddings | None
    if cfg.embeddings:
        if cfg.get("data"):
            raise ConfigError("Embeddings are made already: data needs checkpoint=.")
        embeddings = read_embeddings(Path(cfg.embeddings))
    else:
        embeddings, _ = _embed_test_set(cfg, Path(cfg.checkpoint), cfg.get("data"), folder / "embeddings")
    if embeddings is None:
        return None
    mine(embeddings, options, folder / cfg.out, cfg.seed)
    return folder / cfg.out


def stage_options(node: Mapping[Any, Any]) -> tuple[Mining, Path | None]:
    """Options of a stage's mining, and the checkpoint to mine with if its node `mine` names one.

    Raises:
        ValueError: If a value is none of the possible ones.
    """
    given = {str(key): value for key, value in node.items()}
    checkpoint = given.pop("checkpoint", None)
    return Mining(**given), None if checkpoint is None else Path(checkpoint)


def mined_layout(
    cfg: DictConfig, node: DictConfig, name: str, data: DictConfig, folder: Path, weights: Path | None
) -> dict[str, Any]:
    """The parser of a stage's further training images, mined in the test set of its data.

    Args:
        cfg: How to embed (`trainer`, `seed`, loading); `resume`, to take what an interrupted run has mined.
        node: The stage's `mine`.
        name: The stage's.
        data: The stage's data set.
        folder: The stage's. The file is `mined.csv` in it.
        weights: The checkpoint to mine with unless the stage names one.

    Returns:
        A node of a layout.

    Raises:
        ConfigError: If there is no checkpoint to mine with.
    """
    options, checkpoint = stage_options(node)
    file = folder / "mined.csv"
    if not (cfg.resume and file.is_file()):
        checkpoint = checkpoint or weights
        if checkpoint is None:
            raise ConfigError(
                f"The stage {name!r} mines identities and has no model to do so; pass "
                f"stages.{name}.mine.checkpoint=<checkpoint>."
            )
        embeddings, trainer = _embed_test_set(cfg, checkpoint, data, folder / "embeddings")
        if embeddings is not None:
            mine(embeddings, options, file, cfg.seed)
        trainer.strategy.barrier()  # until the first process has written the file
    root = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["root"]
    return {"_target_": "src.data.layouts.CSV", "root": root, "name": "mined", "file": str(file.resolve())}


def mine(embeddings: Embeddings, options: Mining, file: Path, seed: int) -> None:
    """Mines the queries and the gallery of embeddings, and writes the images that got a pseudo-identity.

    Beside the CSV file stands a JSON file with what was found and how. True vehicles, where they are known, only tell
    how many pseudo-identities are right.

    Args:
        embeddings: Of a test set; its training images have their own vehicles and are left alone.
        options: Distances and thresholds.
        file: The CSV file.
        seed: Draws the first query.

    Raises:
        ValueError: See `mine_identities`.
        ConfigError: If the images do not lie in one folder.
    """
    meta = embeddings.meta
    query, gallery = _sides(embeddings)
    rows = np.concatenate([query, gallery])
    table, features = embeddings.table.iloc[rows], embeddings.of(rows)
    tracks = table["track_id"].to_numpy()[len(query) :]
    vehicles = table["vehicle_id"].to_numpy()
    n_vehicles = len(np.unique(vehicles[vehicles >= 0]))
    with working(f"Mining identities in {len(rows):,} images"):
        labels = _labels(features, len(query), options, tracks, seed, n_vehicles)
    roots = table["root"].unique()
    if len(roots) > 1:
        raise ConfigError(f"The test images lie in {len(roots)} folders ({', '.join(roots[:2])}, …), expected one.")

    train = embeddings.table[(embeddings.table["split"] == "train").to_numpy()]
    first_id = max(_FIRST_ID, int(train["vehicle_id"].max()) + 1 if len(train) else 0)
    labelled = labels >= 0
    records = once(table[labelled].assign(vehicle_id=first_id + labels[labelled], split="train"))
    text = {name: records[name].astype(object).where(known(records, name), "") for name in _WRITTEN}

    counts = {
        "ids": len(np.unique(labels[labelled])),
        "ids_of_one_image": int((records["vehicle_id"].value_counts() == 1).sum()),
        "images": len(records),
        "of": len(table),
    }
    numbers: dict[str, Any] = {**counts}
    if (right := purity(labels, vehicles)) is not None:
        # Identities of one vehicle are each right, so how many vehicles they are of belongs to it.
        numbers["vehicles"] = len(np.unique(vehicles[labelled & (vehicles >= 0)]))
        numbers["purity"] = right
        numbers["vehicles_in_test_set"] = n_vehicles
        if options.kind == "identity_mining":  # with fewer clusters than vehicles, k-means could not be right
            numbers["kmeans_purity"] = purity(kmeans_labels(features, n_vehicles, seed), vehicles)
    mined_by = {"checkpoint": meta.checkpoint, "checkpoint_sha": meta.checkpoint_sha, "data": asdict(meta.data)}
    content = {"root": str(roots[0]), **numbers, "options": asdict(options), "seed": seed, **mined_by}
    write_json(file.with_suffix(".json"), content)
    write_atomically(file, pd.DataFrame(text).to_csv(index=False))
    log.info("Mined %d identities (%d of one image) in %d of %d images%s: %s", *counts.values(), _judged(numbers), file)


def _judged(numbers: Mapping[str, Any]) -> str:
    """Purity of the identities in words; nothing where vehicles are hidden."""
    if "purity" not in numbers:
        return ""
    count = numbers["vehicles_in_test_set"]
    sentence = f", of {numbers['vehicles']} of {count} vehicles, {numbers['purity']:.1%} right"
    if "kmeans_purity" in numbers:
        clusters = f"{count} clusters of all images"
        sentence += f" (k-means, {clusters}: {numbers['kmeans_purity']:.1%})"
    return sentence


def _labels(
    features: Tensor, n_queries: int, options: Mining, tracks: Integers, seed: int, n_vehicles: int
) -> Integers:
    """Pseudo-identity of each query, then of each gallery image, from 0; -1 for none."""
    if options.kind == "identity_mining":
        return mine_identities(features, n_queries, options, tracks, seed).labels
    if options.clusters is None and n_vehicles == 0:
        raise ConfigError(
            "mine.kind=kmeans needs the number of vehicles, which are hidden here; pass mine.clusters=<number> (333 "
            "for CityFlow's test set)."
        )
    return kmeans_labels(features, options.clusters or n_vehicles, seed)


def _sides(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """Rows of queries and gallery; an image that is both is a query, one that is trained on too is neither."""
    table = embeddings.table
    split = table["split"].to_numpy()
    image = pd.MultiIndex.from_frame(table[["root", "path", "box"]])
    unknown = ~image.isin(image[split == "train"])
    rows = embeddings.rows[unknown[embeddings.rows]]
    is_query = np.isin(split[rows], ["query", "test"])
    return rows[is_query], rows[~is_query]


def _embed_test_set(
    cfg: DictConfig, checkpoint: Path, node: DictConfig | None, folder: Path
) -> tuple[Embeddings | None, Trainer]:
    """Embeds queries and gallery, all of them whatever the tasks, which need labels; None on other processes."""
    seed_everything(cfg.seed, workers=True, verbose=False)
    method = restore_method(checkpoint)
    method.average_over(views_of(method, cfg.retrieval))
    data = evaluation_data(method, node, tasks=[], **loading(cfg))
    evaluation = RetrievalEvaluation()
    trainer = build_trainer(cfg.trainer, "Embedding", logger=False, enable_checkpointing=False, callbacks=[evaluation])
    return embed(method, data, trainer, evaluation, checkpoint, folder), trainer
