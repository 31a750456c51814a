"""What watches over a training: a process that is told to end, a loss that is no number."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from src.files import write_atomically
from src.methods.views import Batch

log = logging.getLogger(__name__)


class SaveWhenTerminated(Callback):
    """Saves a checkpoint between two batches when the process gets SIGTERM, which clusters send before SIGKILL.

    A process that is killed outright goes on from the end of the last epoch.

    Args:
        path: The checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves if the reason is SIGTERM."""
        if isinstance(exception, SIGTERMException):
            trainer.save_checkpoint(self._path)
            log.warning("Told to end: saved %s; resume=<run folder> goes on from there.", self._path)


class StopWhenNotFinite(Callback):
    """Stops a training whose loss is NaN or infinite, and lists the images of that batch.

    The loss of a batch is looked at one batch later, when a GPU has long finished it: looking at once would make it
    wait in every step. Checkpoints are written after the last look, so none holds weights of such a step.

    Args:
        folder: Where the list goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[Tensor, Tensor, int] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Looks at the batch before."""
        self._look(trainer)
        self._last = outputs["loss"].detach(), batch["row"], trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the batch before a validation, which would stumble over it."""
        self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the last batch before a checkpoint is written."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        if self._last is None or bool(self._last[0].isfinite()):
            return
        loss, rows, step = self._last
        data: Any = trainer
        images = data.datamodule.table.iloc[rows.cpu().numpy()][["dataset", "path", "vehicle_id"]]
        file = self._folder / f"not_finite_{trainer.global_rank}.csv"
        write_atomically(file, images.to_csv(index_label="row"))
        raise ValueError(
            f"The loss is {loss.item()} in step {step} of this stage; the images of its batch are listed in {file}. "
            "Look at them, or lower optim.optimizer.lr; last.ckpt is from before."
        )
