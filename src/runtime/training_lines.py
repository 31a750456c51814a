"""Progress of a Lightning trainer in lines, where there is no terminal for its bar."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor

from src.runtime.memory import peak_memory
from src.runtime.progress import Progress, duration

log = logging.getLogger(__name__)


class TrainingLines(ProgressBar):
    """A line every epoch, every validation and every test, and others while one of them lasts; see `Progress`.

    Only the first of several processes says anything. What it says of images is of all of them together.

    Args:
        test: What a test is called.
    """

    def __init__(self, test: str = "Test") -> None:
        super().__init__()
        self._test = test
        self._speaks = True
        self._passes: list[_Pass] = []  # the innermost last: a validation lies within an epoch
        self._began, self._steps = 0.0, 0

    def disable(self) -> None:
        """Says nothing any more."""
        self._speaks = False

    def enable(self) -> None:
        """Says everything again."""
        self._speaks = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers when, for the time that is left."""
        self._began, self._steps = time.monotonic(), 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins an epoch, or what of it a stop has left."""
        had = trainer.fit_loop.epoch_loop.batch_progress.current.ready  # of a whole epoch before, or of this one
        steps = trainer.num_training_batches - had % trainer.num_training_batches
        self._begin(f"Epoch {trainer.current_epoch + 1} of {trainer.max_epochs}", steps, "steps")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the images of a step; its loss is looked at when a line is written, as a device would wait for it."""
        self._steps += 1
        self._count(trainer, batch, outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says what the epoch came to."""
        if not self._passes:
            return
        ended = self._end()
        terms = _numbers(trainer.callback_metrics, "train/")
        parts = [f"loss {terms.pop('total', terms.get('loss', '?'))}"]
        terms.pop("loss", None)
        if len(terms) > 1:
            parts[0] += f" ({', '.join(f'{name} {value}' for name, value in terms.items())})"
        epochs = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        parts.append(ended.speed())
        if epochs:
            per_step = (time.monotonic() - self._began) / max(1, self._steps)  # validations included
            parts.append(f"about {duration(per_step * epochs * trainer.num_training_batches)} left")
        log.info("%s: %s.", ended.work.what, ", ".join([*parts, peak_memory()]))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins a validation, which comes after the last step of an epoch."""
        if self._passes:
            self._passes[-1].progress.close()
        epoch = f" after epoch {trainer.current_epoch + 1}" if trainer.state.fn == "fit" else ""
        self._begin(f"Validation{epoch}", sum(trainer.num_val_batches), "batches")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Counts the images."""
        self._count(trainer, batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says its numbers."""
        self._measured(trainer, "val/")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins a test."""
        self._begin(self._test, sum(trainer.num_test_batches), "batches")

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Counts the images."""
        self._count(trainer, batch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says its numbers."""
        self._measured(trainer, "test/")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Says nothing more of what was under way."""
        while self._passes:
            self._end()

    def _begin(self, what: str, batches: float, unit: str) -> None:
        if self._speaks:
            self._passes.append(_Pass(what, batches, unit))

    def _count(self, trainer: Trainer, batch: Any, loss: Tensor | None = None) -> None:
        if self._passes:
            self._passes[-1].count(trainer.world_size * len(batch["image"]), loss)

    def _end(self) -> "_Pass":
        ended = self._passes.pop()
        ended.progress.close()
        return ended

    def _measured(self, trainer: Trainer, prefix: str) -> None:
        if self._passes:
            ended = self._end()
            numbers = [f"{name} {value}" for name, value in _numbers(trainer.callback_metrics, prefix).items()]
            took = f"{ended.images:,} images in {duration(ended.work.seconds)}"
            log.info("%s: %s.", ended.work.what, ", ".join([*numbers, took, peak_memory()]))


class _Pass:
    """A pass over the images: of an epoch, a validation or a test."""

    def __init__(self, what: str, batches: float, unit: str) -> None:
        self.progress = Progress(bars=False)
        self.work = self.progress.begin(what, batches, unit, rate=False)
        self.images = 0
        self._seconds = 0.0  # when the last batch ended: an epoch's validation comes after it
        self._loss: Tensor | None = None

    def count(self, images: int, loss: Tensor | None) -> None:
        self.images += images
        self._seconds, self._loss = self.work.seconds, loss
        self.work.reach(self.work.done + 1, note=self._note)

    def speed(self) -> str:
        return f"{self.images / max(self._seconds, 1e-3):,.1f} images/s"

    def _note(self) -> str:
        return self.speed() if self._loss is None else f"loss {float(self._loss):.3f}, {self.speed()}"


def _numbers(metrics: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """What was logged under a prefix, in three digits."""
    found = {name.removeprefix(prefix): float(value) for name, value in metrics.items() if name.startswith(prefix)}
    return {name: f"{value:.3f}" for name, value in found.items()}
