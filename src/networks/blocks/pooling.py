"""From a feature map to one vector an image."""

import torch
from torch import Tensor, nn


class GAP(nn.Module):
    """Global average pooling: `(B, C, h, w)` → `(B, C)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Averages over the positions."""
        return x.mean(dim=(2, 3))


class GeM(nn.Module):
    """Generalised-mean pooling with a learnt exponent: `(B, C, h, w)` → `(B, C)`.

    `(mean max(x, ε)^p)^(1/p)`; p = 1 is the average, p → ∞ the maximum. Radenović et al., "Fine-tuning CNN Image
    Retrieval with No Human Annotation", TPAMI 2019. Computed in at least float32: cubes overflow half precision.

    Args:
        p: Exponent to start from.
        eps: Lower bound of the activations.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """The generalised mean over the positions."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return wide.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p).to(x.dtype)
