"""All pictures of a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from src.data import ReIDDataModule, image_path, read_image
from src.figures.rank_lists import RankList, draw_rank_lists
from src.methods.retrieval_metric import RetrievalMetric, trial_features, trial_labels
from src.retrieval import Backend, Relevance, search


def write_rank_lists(
    folder: Path,
    measured: RetrievalMetric,
    data: ReIDDataModule,
    *,
    backend: Backend,
    queries: int,
    top_k: int,
) -> None:
    """Writes `rank_list_<task>.png` for the first trial of every task that ranks images.

    Args:
        folder: Where.
        measured: Results and embeddings.
        data: Where the images are.
        backend: Search back end.
        queries: How many queries, evenly spread over those that have a match.
        top_k: How many places.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, result in measured.results.items():
        task, trial, found = result.task, result.task.trials[0], result.trials[0]
        valid = np.flatnonzero(found.valid)
        if task.protocol.gallery_unit != "image" or len(valid) == 0 or queries == 0:
            continue
        chosen = valid[np.linspace(0, len(valid) - 1, min(queries, len(valid))).astype(int)]
        shown = replace(trial, query=trial.query[chosen])
        nearest, distances = search(
            *trial_features(shown, measured.embeddings, measured.embedded_rows),
            top_k,
            backend=backend,
            relevance=Relevance(**trial_labels(task, shown, data.table)),
        )
        ids = data.table["vehicle_id"].to_numpy()
        lists = [
            RankList(query, gallery := trial.gallery[f[f >= 0]], ids[gallery] == ids[query], d, found.ap[place])
            for query, f, d, place in zip(shown.query, nearest, distances, chosen, strict=True)
        ]
        title = f"{name.replace('_', ' ')}: {task.protocol.direction}, mAP {result.mean_ap:.3f}"
        draw_rank_lists(
            lists,
            lambda row: read_image(image_path(data.table, row)),
            lambda row: _caption(data.table.iloc[row]),
            folder / f"rank_list_{name}.png",
            title,
        )


def _caption(record: pd.Series) -> str:
    parts = [f"id {record.vehicle_id}"]
    if record.camera_id >= 0:
        parts.append(f"camera {record.camera_id}")
    if record.domain:
        parts.append(record.domain)
    return ", ".join(parts)
