"""A test set embedded by an engine."""

from typing import Any, cast

from lightning.pytorch import LightningModule
from torch import Tensor

from src.embed import Network
from src.methods.base import ReIDMethod
from src.methods.tta import Batch


class EngineEmbedding(LightningModule):
    """What `Trainer.test` runs instead of the method.

    Args:
        method: The method.
        network: The same on an engine.
        images: How many images there are.
    """

    def __init__(self, method: ReIDMethod, network: Network, images: int) -> None:
        super().__init__()
        self.method = method
        self._network, self._images = network, images

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Embeds a batch; of several processes the first one converts the network, and the others take it up."""
        if batch_idx == 0:
            strategy = cast(Any, self.trainer).strategy
            if strategy.is_global_zero:
                self._network.prepare(batch, self._images)
            strategy.barrier()
            self._network.prepare(batch, self._images)
        return self._network(batch).to(self.device)
