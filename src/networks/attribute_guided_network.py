"""The attribute-guided network: one feature extractor, and a branch for the identity and each attribute."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from src.networks.backbone.timm_backbone import Backbone
from src.networks.blocks.bnneck import BNNeck, Classifier
from src.networks.blocks.pooling import GAP


class AttributeGuidedOutput(NamedTuple):
    """Output of the network for B images.

    Attributes:
        f: The feature before the neck, `(B, D)`.
        f_bn: After it, `(B, D)`.
        f_id: The identity's feature, `(B, D)`; `f_bn` itself without attributes.
        logits: Of the identities, `(B, K)`.
        features: Attribute → its feature, `(B, d)`.
        attribute_logits: Attribute → logits of its names.
    """

    f: Tensor
    f_bn: Tensor
    f_id: Tensor
    logits: Tensor
    features: dict[str, Tensor]
    attribute_logits: dict[str, Tensor]


class AttributeBranch(nn.Module):
    """The fully connected layer of an attribute and the classifier of its names.

    Args:
        dim: Length D of the features that come in.
        dimension: Length d of the attribute's feature.
        names: Number of names.
    """

    def __init__(self, dim: int, dimension: int, names: int) -> None:
        super().__init__()
        self.reduce = linear_layer(dim, dimension)
        self.classifier = Classifier(dimension, names, bias=True)

    def forward(self, f_bn: Tensor) -> tuple[Tensor, Tensor]:
        """The attribute's feature `(B, d)` and logits of features `(B, D)`."""
        feature = self.reduce(f_bn)
        return feature, self.classifier(feature)


class AttributeGuidedNetwork(nn.Module):
    """Backbone → global average → fully connected layer `f` → BNNeck `f_bn` → fully connected layers, one a task.

    Zhuge et al., "Attribute-guided Feature Extraction and Augmentation Robust Learning for Vehicle Re-identification",
    CVPRW 2020, Figs. 1 and 2. Without attributes it is the feature extractor alone, whose classifier follows the neck.

    Args:
        backbone: Last stride 1, but for DenseNet and HRNet.
        num_classes: Number of identities K.
        attributes: Attribute → number of its names.
        dimension: Length D of `f`, `f_bn` and `f_id`.
        attribute_dimension: Length d of an attribute's feature.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        attributes: Mapping[str, int],
        dimension: int = 2048,
        attribute_dimension: int = 256,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = GAP()
        self.reduce = linear_layer(backbone.channels[-1], dimension)
        self.neck = BNNeck(dimension, num_classes)
        self.identity = linear_layer(dimension, dimension) if attributes else nn.Identity()
        self.attributes = tuple(attributes)
        self.branches = nn.ModuleList(
            AttributeBranch(dimension, attribute_dimension, names) for names in attributes.values()
        )

    def forward(self, images: Tensor) -> AttributeGuidedOutput:
        """All features and logits of images `(B, 3, H, W)` on the 0…255 scale."""
        f = self.reduce(self.pool(self.backbone(images)))
        f_bn = self.neck.bn(f)
        f_id = self.identity(f_bn)
        branches = dict(zip(self.attributes, (branch(f_bn) for branch in self.branches), strict=True))
        return AttributeGuidedOutput(
            f=f,
            f_bn=f_bn,
            f_id=f_id,
            logits=self.neck.classifier(f_id),
            features={name: feature for name, (feature, _) in branches.items()},
            attribute_logits={name: logits for name, (_, logits) in branches.items()},
        )


def linear_layer(dim: int, out: int) -> nn.Linear:
    """A fully connected layer that starts at zero mean, normal by fan-out, and with no bias."""
    layer = nn.Linear(dim, out)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    nn.init.zeros_(layer.bias)
    return layer
