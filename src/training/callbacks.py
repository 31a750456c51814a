"""Watches over a training: a process that is told to end, a loss that is no number."""

import logging
import signal
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from src.methods.tta import Batch
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)


class SaveWhenTerminated(Callback):
    """Saves a checkpoint between two batches when the process gets SIGTERM, which clusters send before SIGKILL.

    A process that is killed outright goes on from the end of the last epoch.

    Lightning's own handler lets the processes of a distributed run talk to each other at once, wherever each of them
    is, and they may then wait for each other for ever. So the signal is only noted here, and Lightning's handler called
    after the batch at hand, in all processes if one of them was told.

    Args:
        folder: The stage's, where `last.ckpt` goes.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "last.ckpt"
        self._told = False
        self._lightnings: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the place of Lightning's handler, which Lightning puts in again for whatever comes after training."""
        if threading.current_thread() is threading.main_thread():  # elsewhere nobody can handle signals
            self._lightnings = signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self._told = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Ends the training after this batch if a process was told to."""
        self._pass_on(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Likewise, for a validation may take longer than a cluster waits; several processes may differ in batches."""
        if trainer.world_size == 1:
            self._pass_on(trainer)

    def _pass_on(self, trainer: Trainer) -> None:
        if callable(self._lightnings) and trainer.strategy.reduce_boolean_decision(self._told, all=False):
            self._lightnings(signal.SIGTERM, None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves if the reason is SIGTERM and there is something new to save, as in a test there is not."""
        if not isinstance(exception, SIGTERMException):
            return
        if trainer.state.fn is TrainerFn.FITTING and self._finite(trainer):
            trainer.save_checkpoint(self._path)
        if trainer.is_global_zero:
            log.warning("Told to end: the weights are in %s; resume=<run folder> goes on from there.", self._path)

    def _finite(self, trainer: Trainer) -> bool:
        """Whether the loss of the batch at hand is, at which `StopWhenNotFinite` has not looked yet."""
        loss = trainer.callback_metrics.get("train/loss")
        return trainer.strategy.reduce_boolean_decision(loss is None or bool(loss.isfinite()))


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
