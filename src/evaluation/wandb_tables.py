"""Tables of a finished measurement for Weights & Biases: rank lists with pictures, who is taken for whom.

The curves and the configuration come from Lightning's `WandbLogger`, the numbers from `loggers`; docs/sweeps.md lists
all names.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data import image_path, known, read_image
from src.evaluation.metrics_record import MetricsRecord
from src.evaluation.task_results import TaskResult
from src.figures.rank_lists import RankList
from src.figures.style import GREEN, GREY, VERMILION

if TYPE_CHECKING:
    from wandb import Run, Table

_PIXELS = 128  # longer side of a picture in a table
_FRAME = 6


@contextmanager
def run_ends_here() -> Iterator[None]:
    """Ends the W&B run, as failed after an error: the next job of a sweep, in the same process, would go on with it."""
    code = 1
    try:
        yield
        code = 0
    finally:
        if (wandb := sys.modules.get("wandb")) is not None and wandb.run is not None:
            wandb.finish(exit_code=code)


def log_tables(
    run: "Run",
    metrics: MetricsRecord,
    results: Mapping[str, TaskResult],
    lists: Mapping[str, list[RankList]],
    table: pd.DataFrame,
    pictures: Mapping[str, Path],
) -> None:
    """Logs the tables of a finished measurement, and pictures.

    Args:
        run: The W&B run.
        metrics: Its record.
        results: Results of the tasks, by name.
        lists: Rank lists to show, by task.
        table: The record table.
        pictures: Files, by what to call them.
    """
    import wandb

    tables = {f"rank_lists/{name}": _pictures(entries, table) for name, entries in lists.items()}
    for name, result in results.items():
        for column, label in (("camera_id", "camera"), ("domain", "domain")):
            if len(pairs := first_results(result, table, column)):
                pairs.columns = pd.Index([f"query's {label}", f"first result's {label}", "queries", "wrong"])
                tables[f"{label}s/{name}"] = wandb.Table(dataframe=pairs)
    groups: list[Iterable[Any]] = [
        (name, by, value, group.queries, group.mAP, group.R1)
        for name, columns in metrics.breakdowns.items()
        for by, values in columns.items()
        for value, group in values.items()
    ]
    tables["groups"] = wandb.Table(["task", "by", "group", "queries", "mAP", "R1"], groups)
    run.log(tables | {name: wandb.Image(str(path)) for name, path in pictures.items()})


def first_results(result: TaskResult, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Origin of the first result of each query, and how often it is another vehicle, in the first trial.

    Args:
        result: Of a task, with rank lists.
        table: The record table.
        column: `camera_id` or `domain`.

    Returns:
        A row for each pair of groups that occurs: `query`, `first`, `queries`, `wrong`. Empty without rank lists of
        images, or where the column is not known.
    """
    trial, ranked = result.task.trials[0], result.trials[0]
    nothing = pd.DataFrame(columns=["query", "first", "queries", "wrong"])
    if result.task.protocol.gallery_unit != "image" or ranked.indices.shape[1] == 0:
        return nothing
    shown = ranked.valid & (ranked.indices[:, 0] >= 0)
    query, first = trial.query[shown], trial.gallery[ranked.indices[shown, 0]]
    values, ids = table[column].to_numpy(), table["vehicle_id"].to_numpy()
    if not known(table, column)[np.concatenate([query, first])].all():
        return nothing
    pairs = pd.DataFrame({"query": values[query], "first": values[first], "wrong": ids[query] != ids[first]})
    counted = pairs.groupby(["query", "first"])["wrong"].agg(queries="size", wrong="sum")
    return counted.reset_index()


def _pictures(lists: list[RankList], table: pd.DataFrame) -> "Table":
    """A row a query: its picture, then those of its first results, framed and marked right (✓) or wrong (✗)."""
    import wandb

    places = max(len(entry.found) for entry in lists)
    pictures = wandb.Table(["vehicle", "AP", "query", *(str(place + 1) for place in range(places))])
    for entry in lists:
        cells: list[Any] = []
        for row, right, distance in zip(entry.found, entry.right, entry.distances, strict=True):
            colour, mark = (GREEN, "✓") if right else (VERMILION, "✗")
            cells.append(wandb.Image(_framed(table, int(row), colour), caption=f"{mark} {distance:.2f}"))
        cells += [None] * (places - len(cells))
        query = wandb.Image(_framed(table, entry.query, GREY), caption="query")
        vehicle = int(table["vehicle_id"].iloc[entry.query])
        pictures.add_data(vehicle, float(entry.average_precision), query, *cells)
    return pictures


def _framed(table: pd.DataFrame, row: int, colour: str) -> NDArray[np.uint8]:
    """A small picture of a table row in a coloured frame, RGB."""
    image = read_image(image_path(table, row), str(table["box"].iloc[row]))
    scale = _PIXELS / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rgb = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    framed = cv2.copyMakeBorder(small, _FRAME, _FRAME, _FRAME, _FRAME, cv2.BORDER_CONSTANT, value=rgb)
    return np.asarray(framed, dtype=np.uint8)
