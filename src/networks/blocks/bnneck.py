"""The batch-normalisation neck of BoT and the initialisation of its classifier."""

from torch import Tensor, nn


def linear_classifier(dim: int, num_classes: int, bias: bool) -> nn.Linear:
    """An identity classifier that starts close to zero (normal, deviation 0.001), as in BoT."""
    classifier = nn.Linear(dim, num_classes, bias=bias)
    nn.init.normal_(classifier.weight, std=0.001)
    if bias:
        nn.init.zeros_(classifier.bias)
    return classifier


class BNNeck(nn.Module):
    """Batch normalisation between the metric loss and the classifier.

    The bias of the normalisation is fixed at zero and the classifier has none, so that its decision surfaces pass
    through the origin. Luo et al., "A Strong Baseline and Batch Normalization Neck for Deep Person Re-identification",
    TMM 2019.

    Args:
        dim: Length D of the features.
        num_classes: Number of identities K.
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(dim)
        self.bn.bias.requires_grad_(False)
        self.classifier = linear_classifier(dim, num_classes, bias=False)

    def forward(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised features `(B, D)` and the logits `(B, K)` of features `(B, D)`."""
        f_bn = self.bn(f)
        return f_bn, self.classifier(f_bn)
