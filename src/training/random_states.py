"""The random numbers of a training, so that a stopped one goes on with the same."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed


class RandomStates(Callback):
    """Keeps the states of torch's random generators, of all processes, in the checkpoint, and goes on with them."""

    def __init__(self) -> None:
        self._states: list[dict[str, Tensor]] = []

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the states to the checkpoint."""
        checkpoint["random_states"] = random_states()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes them out of the checkpoint; they are set when training goes on, for what comes before draws too."""
        self._states = checkpoint.get("random_states", [])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on with the random numbers of a stopped training."""
        set_random_state(self._states)


def random_states() -> list[dict[str, Tensor]]:
    """The states of torch's random generators, one mapping a process; all processes must call it together."""
    here = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        here["cuda"] = torch.cuda.get_rng_state()
    if not distributed.is_initialized():
        return [here]
    everywhere: list[dict[str, Tensor]] = [{} for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(everywhere, here)
    return everywhere


def set_random_state(states: list[dict[str, Tensor]]) -> None:
    """Sets what `random_states` returned; a process that there was none of keeps its own."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    if rank < len(states):
        torch.set_rng_state(states[rank]["cpu"].cpu())
        if "cuda" in states[rank] and torch.cuda.is_available():
            torch.cuda.set_rng_state(states[rank]["cuda"].cpu())
