"""Batch-normalisation neck and classifier of BoT."""

from torch import Tensor, nn


class Classifier(nn.Linear):
    """Linear classifier of the training classes; starts close to zero (normal, deviation 0.001), as in BoT.

    Its type says that it is of these classes: it starts anew where they change, and embedding does without it.
    """

    def __init__(self, dim: int, num_classes: int, bias: bool) -> None:
        super().__init__(dim, num_classes, bias=bias)
        nn.init.normal_(self.weight, std=0.001)
        if bias:
            nn.init.zeros_(self.bias)


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
        self.classifier = Classifier(dim, num_classes, bias=False)

    def forward(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised features `(B, D)` and the logits `(B, K)` of features `(B, D)`."""
        f_bn = self.bn(f)
        return f_bn, self.classifier(f_bn)
