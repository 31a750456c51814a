"""The retrieval metric of validation and test, as a callback: a method only embeds."""

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from src.evaluation.retrieval_metric import RetrievalMetric
from src.evaluation.task_results import TaskResult
from src.methods.tta import Batch
from src.retrieval import Embeddings, Metric


class RetrievalEvaluation(Callback):
    """Collects what `validation_step` and `test_step` return, the embeddings, and evaluates the data module's tasks.

    Logs `val/mAP`, `val/<task>/mAP`, `val/<task>/rank1`, and the same under `test/`.

    Args:
        top_k: Length of the rank lists that a test keeps in its results.
        metric: What distances are.

    Attributes:
        metric: The metric of the latest validation or test.
    """

    metric: RetrievalMetric

    def __init__(self, top_k: int = 0, metric: Metric = "euclidean") -> None:
        self.top_k = top_k
        self._metric: Metric = metric

    @property
    def results(self) -> dict[str, TaskResult]:
        """The latest result of each task, by name."""
        return self.metric.results

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings behind them, of all processes."""
        return self.metric.embeddings

    def _begin(self, trainer: Trainer, pl_module: LightningModule, top_k: int) -> None:
        data = cast(Any, trainer).datamodule
        self.metric = RetrievalMetric(data.table, data.tasks, top_k, self._metric).to(pl_module.device)

    def _end(self, pl_module: LightningModule, prefix: str) -> None:
        for name, value in self.metric.compute().items():
            # Alike in all processes, which Lightning cannot know.
            pl_module.log(f"{prefix}/{name}", value, prog_bar=name == "mAP", sync_dist=True)
        self.metric.reset()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with no embeddings."""
        self._begin(trainer, pl_module, 0)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with no embeddings."""
        self._begin(trainer, pl_module, self.top_k)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any, **__: Any
    ) -> None:
        """Adds a batch's embeddings."""
        self.metric.update(cast(Tensor, outputs), batch["row"])

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any, **__: Any
    ) -> None:
        """Adds a batch's embeddings."""
        self.metric.update(cast(Tensor, outputs), batch["row"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluates and logs every task."""
        self._end(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluates and logs every task."""
        self._end(pl_module, "test")
