"""Pretrained features as they are: the baseline that training has to beat."""

from torch import Tensor

from src.methods.base import Batch, ReIDMethod
from src.networks import Backbone


class PretrainedFeatures(ReIDMethod):
    """Globally averaged features of a pretrained backbone. Nothing is trained."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def embed(self, batch: Batch) -> Tensor:
        """Averages the last feature map over its positions."""
        return self.backbone(batch["image"]).mean(dim=(2, 3))
