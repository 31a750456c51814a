"""First lines of a training: what learns what, in how many steps, and how long that will take."""

import logging
import sys
import time
from contextlib import nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from src.runtime.progress import duration, on_terminal

log = logging.getLogger(__name__)

_TIMED = 20  # steps, from which the time of all of them is foretold


class Announcement(Callback):
    """Says at the start of a stage what is trained in how many steps, and after some of them how long it will take."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is trained, on what device, in how many steps."""
        self._steps, self._began = 0, time.monotonic()
        data: Any = trainer
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in pl_module.parameters()]
        learnt, whole = sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)
        frozen = ", ".join(getattr(pl_module, "frozen", ()))
        stays = f", the rest stays as it is ({frozen})" if frozen else ""
        batch = data.datamodule.train_batch_size * trainer.world_size
        steps = _several(trainer.num_training_batches, "step")
        epochs = f"{_several(trainer.max_epochs or 0, 'epoch')} of {steps} of {batch} images"
        device = trainer.strategy.root_device.type
        where = f"{trainer.world_size} × {device}" if trainer.world_size > 1 else device
        if device == "cpu":
            where += f" with {_several(torch.get_num_threads(), 'thread')}"
        validations = (
            (trainer.max_epochs or 0) // (trainer.check_val_every_n_epoch or 1) if data.datamodule.tasks else 0
        )
        _say(
            f"{type(pl_module).__name__}: {learnt / 1e6:.1f} of {whole / 1e6:.1f} million parameters are trained"
            f"{stays}; {epochs}, {_several(validations, 'validation')}, on {where} in {trainer.precision}."
        )

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """How long all steps will take, once some have been."""
        self._steps += 1
        if self._steps == 1:  # the first one is slower than others
            self._began = time.monotonic()
        left = (trainer.max_epochs or 0) * trainer.num_training_batches - trainer.fit_loop.total_batch_idx - 1
        if self._steps == _TIMED and left:
            per_step = (time.monotonic() - self._began) / (_TIMED - 1)
            whole = f"the other {left:,} take about {duration(per_step * left)}, validations aside"
            _say(f"A step takes {per_step:.2f} s: {whole}.")


def _several(count: float, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _say(sentence: str) -> None:
    """Into the log, between the bars of a terminal."""
    with tqdm.external_write_mode(sys.stdout) if on_terminal() else nullcontext():
        log.info(sentence)
