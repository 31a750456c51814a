"""The retrieval metric: embeddings in, one exact result a task out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from src.data import Task, Trial
from src.retrieval import RetrievalResult, evaluate

RANKS = (1, 5, 10, 20)


@dataclass(frozen=True)
class TaskResult:
    """What one task measured: one `RetrievalResult` a trial, with the protocol that produced it."""

    task: Task
    trials: tuple[RetrievalResult, ...]

    @property
    def mean_ap(self) -> float:
        """Mean average precision, averaged over the trials."""
        return float(np.mean([trial.mAP for trial in self.trials]))

    def rank(self, k: int) -> float:
        """Share of queries with a match among the first k, averaged over the trials."""
        return float(np.mean([trial.cmc(k) for trial in self.trials]))

    def as_dict(self) -> dict[str, Any]:
        """The task's entry in `metrics.json`."""
        trials = [trial.summary(RANKS) for trial in self.trials]
        return {
            "mAP": self.mean_ap,
            "mINP": float(np.mean([trial["mINP"] for trial in trials])),
            "rank": {str(k): self.rank(k) for k in RANKS},
            "queries": trials[0]["queries"],
            "gallery": trials[0]["gallery"],
            "skipped": max(trial["skipped"] for trial in trials),
            "ties": max(trial["ties"] for trial in trials),
            "trials": {"n": len(trials), "std": float(np.std([trial["mAP"] for trial in trials]))},
            "protocol": self.task.protocol.as_dict(),
        }


class RetrievalMetric(Metric):
    """Collects embeddings by table row and evaluates every task over them.

    Rows may arrive in any order and more than once (a distributed sampler that pads): the first embedding of a row
    counts. Under DDP torchmetrics gathers the states of all processes before `compute`.

    Args:
        table: The record table (`src.data.table`).
        tasks: The retrieval tasks over its rows.

    Attributes:
        results: The latest result of each task, by name.
        embeddings: The embeddings `(N, D)` behind them, of all processes.
        embedded_rows: Their rows in the table, `(N,)` ascending.
    """

    full_state_update = False
    features: list[Tensor]
    rows: list[Tensor]
    results: dict[str, TaskResult]
    embeddings: Tensor
    embedded_rows: np.ndarray

    def __init__(self, table: pd.DataFrame, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.table = table
        self.tasks = tasks
        self.add_state("features", default=[], dist_reduce_fx="cat")
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, features: Tensor, rows: Tensor) -> None:
        """Adds embeddings.

        Args:
            features: `(B, D)`.
            rows: `(B,)` row numbers in the table.
        """
        self.features.append(features.detach().float())
        self.rows.append(rows)

    def compute(self) -> dict[str, Tensor]:
        """Evaluates every task.

        Returns:
            `<task>/mAP` and `<task>/rank1` of each task, and `mAP`, the mean over the tasks. Everything else that was
            measured stays in `results`.
        """
        rows = dim_zero_cat(self.rows).cpu().numpy()
        self.embedded_rows, first = np.unique(rows, return_index=True)
        self.embeddings = dim_zero_cat(self.features)[torch.as_tensor(first, device=self.device)]
        self.results = {
            task.name: evaluate_task(task, self.table, self.embeddings, self.embedded_rows) for task in self.tasks
        }
        values = {"mAP": float(np.mean([result.mean_ap for result in self.results.values()]))}
        for name, result in self.results.items():
            values |= {f"{name}/mAP": result.mean_ap, f"{name}/rank1": result.rank(1)}
        return {name: torch.tensor(value) for name, value in values.items()}


def trial_labels(task: Task, trial: Trial, table: pd.DataFrame) -> dict[str, Any]:
    """The labels of a trial's images and its rule, as `src.retrieval` takes them."""
    ids, cameras = table["vehicle_id"].to_numpy(), table["camera_id"].to_numpy()
    return {
        "query_ids": ids[trial.query],
        "gallery_ids": ids[trial.gallery],
        "query_cameras": cameras[trial.query],
        "gallery_cameras": cameras[trial.gallery],
        "query_items": trial.query,
        "gallery_items": trial.gallery,
        "ignore": task.protocol.ignore,
    }


def trial_features(trial: Trial, features: Tensor, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Query and gallery embeddings of a trial.

    Args:
        trial: The trial.
        features: `(N, D)` embeddings.
        rows: `(N,)` ascending table rows of the embeddings; the trial's rows must be among them.
    """
    query, gallery = (
        torch.as_tensor(np.searchsorted(rows, wanted), device=features.device)
        for wanted in (trial.query, trial.gallery)
    )
    return features[query], features[gallery]


def evaluate_task(task: Task, table: pd.DataFrame, features: Tensor, rows: np.ndarray) -> TaskResult:
    """Evaluates one task over embeddings (see `trial_features`)."""
    results = []
    for trial in task.trials:
        query, gallery = trial_features(trial, features, rows)
        tracks = table["track_id"].to_numpy()[trial.gallery] if task.protocol.gallery_unit == "track" else None
        labels = trial_labels(task, trial, table)
        results.append(evaluate(query, gallery, gallery_tracks=tracks, ap=task.protocol.ap, **labels))
    return TaskResult(task, tuple(results))
