"""Centre loss: pulls every feature towards a learnt centre of its class."""

import torch
from torch import Tensor, nn


class CenterLoss(nn.Module):
    """Mean squared Euclidean distance of the features to their class centres.

    Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016, without their factor
    ½ and without their hand-written update: the centres are parameters, as in the code of BoT (Luo et al., 2019), whose
    loss this is. BoT gives the centres an optimiser of their own (SGD, rate 0.5).

    Args:
        num_classes: Number of identities K.
        dim: Length D of the features.
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, dim))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of features `(B, D)` with class indices `(B,)`, in at least float32."""
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        return (features - self.centers[labels]).square().sum(dim=1).mean()
