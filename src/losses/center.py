"""Centre loss: pulls every feature towards a centre of its class, which follows the features."""

import torch
from torch import Tensor, nn

from src.runtime.precision import full_precision


class CenterLoss(nn.Module):
    """Mean squared Euclidean distance of the features to the centres of their classes.

    Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016, as the code of BoT
    (Luo et al., 2019) computes it: without their factor ½, the mean over the batch, and centres that take a step of
    plain gradient descent (rate 0.5) on the loss before its weight, whatever optimises the network. The gradient in the
    centres is written out in `step`, so that neither an optimiser's state nor a gradient scaler has a part in it.

    Args:
        num_classes: Number of identities K.
        dim: Length D of the features.
        rate: Learning rate of the centres.
    """

    centers: Tensor

    def __init__(self, num_classes: int, dim: int, rate: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("centers", torch.randn(num_classes, dim))
        self.rate = rate

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of features `(B, D)` with class indices `(B,)`, in at least float32; no gradient in the centres."""
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        return (features - self.centers[labels]).square().sum(dim=1).mean()

    @torch.no_grad()
    def step(self, features: Tensor, labels: Tensor) -> None:
        """Moves the centres down the gradient of the loss of features `(B, D)` with class indices `(B,)`.

        With several processes, give all of them the batches of all: then their centres stay equal.
        """
        centers = self.centers[labels]
        away = centers - features.to(centers.dtype)
        same = labels[:, None] == labels
        # As a product, whose order of summation is fixed on a GPU too; mixed precision would round it.
        with full_precision(away.device.type):
            moved = centers - self.rate * 2 / len(labels) * (same.to(away.dtype) @ away)
        # Each sample writes its class's centre, those of a class the same; which classes there are stays on the device.
        self.centers[labels] = moved[same.byte().argmax(dim=1)]
