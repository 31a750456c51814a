"""Watches over a training: a process that is told to end, a loss that is no number."""

import logging
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from src.methods.tta import Batch
from src.runtime.whole_files import write_atomically
from src.training.host_copy import HostCopy

log = logging.getLogger(__name__)

#: Batches from one agreement of several processes to the next. Clusters wait half a minute and more before they kill.
BATCHES_TO_AGREE = 8


class SaveWhenTerminated(Callback):
    """Saves a checkpoint between two batches when the process gets SIGTERM, which clusters send before SIGKILL.

    A process that is killed outright goes on from the end of the last epoch.

    Lightning's own handler lets the processes of a distributed run talk to each other at once, wherever each of them
    is, and they may then wait for each other for ever. So the signal is only noted here, and Lightning's handler called
    between two batches, in all processes if one of them was told: they agree on it every few batches and look a batch
    later, so that no device waits.

    Args:
        folder: The stage's, where `last.ckpt` goes.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "last.ckpt"
        self._told = False
        self._heard: HostCopy | None = None
        self._lightnings: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the place of Lightning's handler, which Lightning puts in again for whatever comes after training."""
        if threading.current_thread() is threading.main_thread():  # elsewhere nobody can handle signals
            self._lightnings = signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self._told = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Ends the training after this batch if a process was told to; several processes end some batches later."""
        if trainer.world_size == 1:
            self._pass_on(self._told)
            return
        heard, self._heard = self._heard, None
        if trainer.is_last_batch or batch_idx % BATCHES_TO_AGREE == 0:
            told = torch.full((), float(self._told), device=trainer.strategy.root_device)
            torch.distributed.all_reduce(told)
            self._heard = HostCopy(told)
        if trainer.is_last_batch:  # a validation, which may take long, comes after it
            heard = self._heard
        self._pass_on(heard is not None and bool(heard.read()))

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Likewise, for a validation may take longer than a cluster waits; several processes may differ in batches."""
        if trainer.world_size == 1:
            self._pass_on(self._told)

    def _pass_on(self, told: bool) -> None:
        if told and callable(self._lightnings):
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

    Whether a loss is finite is computed at once, and looked at one batch later, when a GPU has long finished it:
    looking at once would make it wait in every step. Checkpoints are written after the last look, so none holds
    weights of such a step.

    Args:
        folder: Where the list goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[HostCopy, Tensor, Tensor, int] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Looks at the batch before."""
        self._look(trainer)
        loss = outputs["loss"].detach()
        self._last = HostCopy(loss.isfinite()), loss, batch["row"], trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the batch before a validation, which would stumble over it."""
        self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the last batch before a checkpoint is written."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        if self._last is None or bool(self._last[0].read()):
            return
        _, loss, rows, step = self._last
        data: Any = trainer
        images = data.datamodule.table.iloc[rows.cpu().numpy()][["dataset", "path", "vehicle_id"]]
        file = self._folder / f"not_finite_{trainer.global_rank}.csv"
        write_atomically(file, images.to_csv(index_label="row"))
        raise ValueError(
            f"The loss is {loss.item()} in step {step} of this stage; the images of its batch are listed in {file}. "
            "Look at them, or lower optim.optimizer.lr; last.ckpt is from before."
        )
