"""The loss on the glare gate of the released DNDM."""

import torch
from torch import Tensor
from torch.nn import functional as F


def gate_loss(gate: Tensor, domains: Tensor) -> Tensor:
    """Pushes the glare gate down on day images and up on night images.

    Half the sum of the means of −log(1 − σ(g)) over the day and −log σ(g) over the night; the released code of DNDM,
    which applies the sigmoid to a gate that has passed one already.

    Args:
        gate: `(B, 1, h, w)`; the loss is computed in at least float32.
        domains: `(B,)`, 0 for day and 1 for night; others take no part.

    Returns:
        A scalar; a domain without samples adds nothing.
    """
    gate = gate.to(torch.promote_types(gate.dtype, torch.float32)).flatten(1)
    day, night = (domains == 0).float(), (domains == 1).float()
    low = F.softplus(gate).mean(dim=1)
    high = F.softplus(-gate).mean(dim=1)
    return ((low * day).sum() / day.sum().clamp(min=1) + (high * night).sum() / night.sum().clamp(min=1)) / 2
