"""All pictures of a run."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from src.data import image_path, read_image
from src.evaluation.task_results import TaskResult
from src.figures.rank_lists import RankList, draw_rank_lists

log = logging.getLogger(__name__)


def choose_rank_lists(
    results: Mapping[str, TaskResult], table: pd.DataFrame, queries: int, top_k: int
) -> dict[str, list[RankList]]:
    """Some rank lists of the first trial of every task that ranks images, to be shown.

    Args:
        results: Results of the tasks, with rank lists, by name.
        table: The record table.
        queries: How many queries, evenly spread over those that have a match.
        top_k: How many places.

    Returns:
        By task. Empty where the images are not on this machine.
    """
    if not Path(str(table["root"].iloc[0])).is_dir():
        log.info("No pictures of rank lists: the images' folder %s is not here.", table["root"].iloc[0])
        return {}
    ids = table["vehicle_id"].to_numpy()
    shown = {}
    for name, result in results.items():
        task, trial, first = result.task, result.task.trials[0], result.trials[0]
        valid = np.flatnonzero(first.valid)
        if task.protocol.gallery_unit != "image" or len(valid) == 0 or queries == 0:
            continue
        lists = []
        for place in valid[np.linspace(0, len(valid) - 1, min(queries, len(valid))).astype(int)]:
            query, listed = int(trial.query[place]), first.indices[place, :top_k]
            gallery, distances = trial.gallery[listed[listed >= 0]], first.distances[place, :top_k][listed >= 0]
            lists.append(RankList(query, gallery, ids[gallery] == ids[query], distances, first.ap[place]))
        shown[name] = lists
    return shown


def write_rank_lists(
    folder: Path, lists: Mapping[str, list[RankList]], results: Mapping[str, TaskResult], table: pd.DataFrame
) -> None:
    """Writes `rank_list_<task>.png` for every task that has rank lists to show.

    Args:
        folder: Where.
        lists: The rank lists by task; see `choose_rank_lists`.
        results: Results of the tasks, by name.
        table: The record table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    boxes = table["box"].to_numpy()
    for name, entries in lists.items():
        task, mean_ap = results[name].task, results[name].mean_ap
        draw_rank_lists(
            entries,
            lambda row: read_image(image_path(table, row), str(boxes[row])),
            lambda row: _caption(table.iloc[row]),
            folder / f"rank_list_{name}.png",
            f"{name.replace('_', ' ')}: {task.protocol.direction}, mAP {mean_ap:.3f}",
        )


def _caption(record: pd.Series) -> str:
    parts = [f"id {record.vehicle_id}"]
    if record.camera_id >= 0:
        parts.append(f"camera {record.camera_id}")
    if record.domain:
        parts.append(record.domain)
    return ", ".join(parts)
