"""The retrieval metric: embeddings in, one exact result a task out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, distributed
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from src.data import Task
from src.evaluation.task_results import TaskResult, evaluate_task
from src.retrieval import Embeddings, RetrievalResult
from src.retrieval import Metric as Distances


class RetrievalMetric(Metric):
    """Collects embeddings by table row and evaluates every task over them.

    Rows may arrive in any order and more than once (a distributed sampler that pads): the first embedding of a row
    counts. Under DDP torchmetrics gathers the states of all processes before `compute`, and each of them ranks the
    gallery for its share of the queries.

    Args:
        table: The record table (`src.data.table`).
        tasks: The retrieval tasks over its rows.
        top_k: Length of the rank lists to keep in the results.
        metric: What distances are.

    Attributes:
        results: The latest result of each task, by name.
        embeddings: The embeddings behind them, of all processes.
    """

    full_state_update = False
    features: list[Tensor]
    rows: list[Tensor]
    results: dict[str, TaskResult]
    embeddings: Embeddings

    def __init__(
        self, table: pd.DataFrame, tasks: Sequence[Task], top_k: int = 0, metric: Distances = "euclidean"
    ) -> None:
        super().__init__()
        self.table = table
        self.tasks = tasks
        self.top_k = top_k
        self.metric: Distances = metric
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
            `<task>/mAP` and `<task>/rank1` of each task, and `mAP`, the mean over the tasks if there are any. All else
            that was measured stays in `results`.
        """
        rows, first = np.unique(dim_zero_cat(self.rows).cpu().numpy(), return_index=True)
        features = dim_zero_cat(self.features)[torch.as_tensor(first, device=self.device)]
        self.embeddings = Embeddings(features, rows, self.table)
        self.results = {task.name: self._evaluate(task) for task in self.tasks}
        values = {}
        if self.results:
            values["mAP"] = float(np.mean([result.mean_ap for result in self.results.values()]))
        for name, result in self.results.items():
            values |= {f"{name}/mAP": result.mean_ap, f"{name}/rank1": result.rank(1)}
        return {name: torch.tensor(value) for name, value in values.items()}

    def _evaluate(self, task: Task) -> TaskResult:
        """Evaluates a task, together with the other processes if there are any."""
        if not distributed.is_initialized():
            return evaluate_task(task, [self.embeddings], metric=self.metric, top_k=self.top_k)
        rank, processes = distributed.get_rank(), distributed.get_world_size()
        mine = tuple(replace(trial, query=trial.query[rank::processes]) for trial in task.trials)
        share = evaluate_task(replace(task, trials=mine), [self.embeddings], metric=self.metric, top_k=self.top_k)
        everyone: list[tuple[RetrievalResult, ...]] = [()] * processes
        distributed.all_gather_object(everyone, share.trials)
        return TaskResult(task, tuple(map(RetrievalResult.interleaved, zip(*everyone, strict=True))))
