"""Softmax cross-entropy with two kinds of label smoothing."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, kind: Literal["uniform", "others"] = "uniform"
) -> Tensor:
    """Mean cross-entropy over the samples whose label is known.

    Args:
        logits: `(B, K)`, any floating type; the loss is computed in at least float32.
        labels: `(B,)` class indices; a negative label means unknown, and its sample is left out.
        smoothing: The share ε of the target that is taken from the label.
        kind: `"uniform"` spreads ε evenly over all K classes, the label included (Szegedy et al., 2016, and torch);
            `"others"` gives each of the K − 1 wrong classes ε / (K − 1).

    Returns:
        A scalar; zero (with a gradient of zeros) when no label is known.

    Raises:
        ValueError: An unknown `kind`, or a smoothing outside [0, 1).
    """
    if kind not in ("uniform", "others"):
        raise ValueError(f"Label smoothing `kind` must be 'uniform' or 'others', not {kind!r}.")
    if not 0 <= smoothing < 1:
        raise ValueError(f"Label smoothing must lie in [0, 1), got {smoothing}; pass 0 to switch it off.")
    known = labels >= 0
    log_p = F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
    log_p_label = log_p.gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1)
    loss = -(1 - smoothing) * log_p_label
    if smoothing > 0:
        classes = logits.shape[1]
        if kind == "uniform":
            loss = loss - smoothing * log_p.mean(dim=1)
        else:
            loss = loss - smoothing / max(classes - 1, 1) * (log_p.sum(dim=1) - log_p_label)
    return (loss * known).sum() / known.sum().clamp(min=1)
