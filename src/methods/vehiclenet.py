"""VehicleNet: learnt from many data sets, then from the target; and the camera model of its post-processing."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from src.losses import cross_entropy
from src.methods.base import Batch, ReIDMethod
from src.networks import GAP, Backbone
from src.networks.blocks.bnneck import Classifier


class VehicleNet(ReIDMethod):
    """Average pooling → fully connected layer → batch normalisation (the embedding) → linear classifier; cross-entropy.

    Zheng et al., "VehicleNet: Learning Robust Visual Representation for Vehicle Re-identification", TMM 2021.

    Args:
        backbone: ResNet-50 in most of the paper.
        num_classes: Identities of the stage's data, over all its sources.
        dimension: Length of the embedding.
    """

    def __init__(self, backbone: Backbone, num_classes: int, dimension: int = 512) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = GAP()
        self.reduce = nn.Linear(backbone.channels[-1], dimension)
        self.bn = nn.BatchNorm1d(dimension)
        self.classifier = Classifier(dimension, num_classes, bias=True)
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out")
        nn.init.zeros_(self.reduce.bias)

    @property
    def head(self) -> Sequence[nn.Module]:
        """Everything behind the pooling."""
        return (self.reduce, self.bn, self.classifier)

    def embed(self, batch: Batch) -> Tensor:
        """The normalised feature."""
        return self.bn(self.reduce(self.pool(self.backbone(batch["image"]))))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"cross_entropy": cross_entropy(self.classifier(self.embed(batch)), batch["label"])}


class CameraClassifier(VehicleNet):
    """The same network, told to name the camera instead of the vehicle (Section IV-C, camera verification)."""

    needs: ClassVar[frozenset[str]] = frozenset({"camera_id"})
    class_column: ClassVar[str] = "camera_id"
