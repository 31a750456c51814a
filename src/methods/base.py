"""What every method shares: the training step, exact validation, and a checkpoint that describes itself."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from src.methods.optim import Optim
from src.methods.retrieval_metric import RetrievalMetric
from src.methods.views import Batch, Views


class ReIDMethod(LightningModule):
    """A re-identification method: a network, its losses, and what it needs from the data.

    A subclass builds its network from `backbone` and `num_classes` and implements `embed` and `losses`; it may name
    its `head`. Embeddings are L2-normalised here, once, so that every distance downstream means the same.

    Attributes:
        needs: Columns of the record table without which the method cannot train (`"domain"`, `"colour"`, …).
        optim: The optimiser of the current stage; set by the loop over the stages before `fit`.
        provenance: Stored in the checkpoint under `reid`: configuration, class list, data fingerprint. Plain values
            only, so that the file loads with `weights_only=True`.
        views: How many times an image is embedded, and how, at test.
        top_k: Length of the rank lists that a test keeps in its results.
        retrieval: The metric of validation and test, with the latest results and embeddings; made by `setup`.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    retrieval: RetrievalMetric

    def __init__(self) -> None:
        super().__init__()
        self.optim: Optim | None = None
        self.provenance: dict[str, Any] = {}
        self.views = Views()
        self.top_k = 0

    def embed(self, batch: Batch) -> Tensor:
        """Embeddings `(B, D)` of a batch, not yet normalised."""
        raise NotImplementedError

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss terms of a training batch, already weighted: the training loss is their sum."""
        raise NotImplementedError

    @property
    def head(self) -> Sequence[nn.Module]:
        """The parts that learn at `optim.head_factor` times the rate: classifier and neck."""
        return ()

    def forward(self, batch: Batch) -> Tensor:
        """L2-normalised embeddings `(B, D)` of a batch, float32."""
        return F.normalize(torch.stack([self.embed(view).float() for view in self.views(batch)]).sum(dim=0))

    def training_step(self, batch: Batch) -> Tensor:
        """Sums the loss terms and logs each."""
        losses = self.losses(batch)
        total = torch.stack([*losses.values()]).sum()
        self.log("train/loss", total, prog_bar=True, on_step=True, on_epoch=False)
        for name, value in {**losses, "total": total}.items():
            self.log(f"train/{name}", value, on_step=False, on_epoch=True, batch_size=len(batch["label"]))
        return total

    def continue_from(self, previous: "ReIDMethod") -> None:
        """Takes over the weights of an earlier stage; its classifier knew other identities and stays behind."""
        kept = {name: value for name, value in previous.state_dict().items() if "classifier" not in name}
        self.load_state_dict(kept, strict=False)

    def configure_optimizers(self) -> Any:
        """The stage's optimiser, and its schedule stepped once an epoch."""
        if self.optim is None:
            raise RuntimeError("Set `method.optim` before fitting: the stage decides the optimiser.")
        optimizer, schedule = self.optim.build(self, self.head)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def setup(self, stage: str) -> None:
        """Prepares the metric for the data module's tasks."""
        data = cast(Any, self.trainer).datamodule
        top_k = self.top_k if stage == "test" else 0
        self.retrieval = RetrievalMetric(data.table, data.tasks, top_k).to(self.device)

    def _embed_into_metric(self, batch: Batch) -> None:
        self.retrieval.update(self(batch), batch["row"])

    def _log_retrieval(self, prefix: str) -> None:
        for name, value in self.retrieval.compute().items():
            self.log(f"{prefix}/{name}", value, prog_bar=name == "mAP")
        self.retrieval.reset()

    def validation_step(self, batch: Batch) -> None:
        """Embeds a batch."""
        self._embed_into_metric(batch)

    def on_validation_epoch_end(self) -> None:
        """Evaluates and logs every task."""
        self._log_retrieval("val")

    def test_step(self, batch: Batch) -> None:
        """Embeds a batch."""
        self._embed_into_metric(batch)

    def on_test_epoch_end(self) -> None:
        """Evaluates and logs every task."""
        self._log_retrieval("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a stranger needs to use the weights."""
        checkpoint["reid"] = self.provenance
