"""NGS: night-domain glare suppression."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GlareSuppression(nn.Module):
    """Weakens the stem's features where a learnt mask, prompted by the image's highlights, says so.

    `M = sigmoid([T ; M_G] · V)`, `T ← T − α · M ⊙ T`. DNDM (CVPR 2024), Eq. 4 to 6.

    Args:
        channels: Channels C0 of the stem.
        alpha: Strength α.
    """

    def __init__(self, channels: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.projection = nn.Conv2d(channels + 1, 1, kernel_size=1, bias=False)

    def forward(self, x: Tensor, glare: Tensor) -> Tensor:
        """Suppresses glare.

        Args:
            x: Stem features `(B, C0, h, w)`.
            glare: Binary masks `(B, 1, H, W)` of the highlights, at any size; all zeros for day images. They shrink by
                max-pooling, so that thin highlights survive.

        Returns:
            Features of the shape of `x`.
        """
        return x * (1 - self.alpha * self.suppression(x, glare))

    def suppression(self, x: Tensor, glare: Tensor) -> Tensor:
        """The learned suppression mask M `(B, 1, h, w)`, with inputs as for `forward`."""
        mask = F.adaptive_max_pool2d(glare.to(x.dtype), x.shape[2:])
        # [T ; M_G] · V in two parts and T − α M ⊙ T as one product: each would be another pass over the features.
        of_features, of_mask = self.projection.weight.split([x.shape[1], 1], dim=1)
        logits = F.conv2d(x, of_features) + of_mask.to(x.dtype) * mask
        return torch.sigmoid(logits)
