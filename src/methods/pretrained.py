"""Pretrained features as they are: the baseline that training has to beat."""

from torch import Tensor

from src.methods.base import Batch, ReIDMethod
from src.networks import Backbone, Pooling, make_pooling


class PretrainedFeatures(ReIDMethod):
    """Pooled features of a pretrained backbone. Nothing is trained.

    Args:
        backbone: With its weights.
        num_classes: Not used: there is no classifier.
        pooling: Global average, generalised mean (exponent 3), or a transformer's class token.
    """

    def __init__(self, backbone: Backbone, num_classes: int = 0, pooling: Pooling = "gap") -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = make_pooling(pooling, backbone)

    def embed(self, batch: Batch) -> Tensor:
        """The pooled last map, or the class token beside it."""
        return self.pool(*self.backbone.features(batch["image"]))
