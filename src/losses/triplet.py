"""Triplet losses over the hardest examples of a batch."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Reduction = Literal["mean", "sum"]


def batch_hard_triplet(
    features: Tensor,
    labels: Tensor,
    margin: float | None = 0.3,
    squared: bool = False,
    soft: bool = False,
    reduction: Reduction = "mean",
    norm: float | None = None,
) -> Tensor:
    """Each sample against its farthest positive and its nearest negative in the batch.

    Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017. With p and n the distances to
    the two, an anchor costs `max(0, p − n + margin)`, or `log(1 + exp(p − n + margin))` when soft.

    Args:
        features: `(B, D)`, or `(N, B, D)` for N features of each sample, which are compared each with its like. Any
            floating type; distances are Euclidean, in at least float32.
        labels: `(B,)` identities, in any order and number.
        margin: None is short for the plain soft margin, `soft=True` with margin 0.
        squared: Use squared distances.
        soft: Soften the hinge.
        reduction: What becomes of the anchors' costs.
        norm: Bring all features to this Euclidean length r first. Squared distances then lie between 0 and 4 r², and
            making all features smaller gains nothing, as it does where they have lengths of their own. None leaves them
            as they are.

    Returns:
        The mean or the sum over the anchors that have a positive and a negative, N times B at most; zero (with a
        gradient of zeros) without any.
    """
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return _hardest(features, same & ~itself, ~same, margin, norm, squared, soft, reduction)


def cross_domain_triplet(
    features: Tensor, labels: Tensor, domains: Tensor, margin: float = 0.3, norm: float | None = None
) -> Tensor:
    """Cross-domain hard triplet of DNDM (CVPR 2024, Eq. 2).

    An anchor takes its farthest positive from the *other* domain's images of its identity, and its nearest negative
    from its *own* domain's images of other identities.

    Args:
        features: `(B, D)`, any floating type; distances are Euclidean, in at least float32.
        labels: `(B,)` identities, in any order and number.
        domains: `(B,)`, 0 for day and 1 for night; samples of unknown domain (negative) take no part.
        margin: Margin of the hinge.
        norm: Bring all features to this Euclidean length first; None leaves them as they are.

    Returns:
        The mean over the anchors that have a positive and a negative; zero (with a gradient of zeros) without any.
    """
    same = labels[:, None] == labels[None, :]
    same_domain = domains[:, None] == domains[None, :]
    known = domains >= 0
    usable = known[:, None] & known[None, :]
    return _hardest(features, same & ~same_domain & usable, ~same & same_domain & usable, margin, norm)


def _hardest(
    features: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float | None,
    norm: float | None,
    squared: bool = False,
    soft: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mines the hardest pairs without gradient, then measures only those, where a zero distance has gradient zero."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if norm is not None:
        features = norm * F.normalize(features, dim=-1)
    with torch.no_grad():
        distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        farthest = distances.masked_fill(~positive, -1).argmax(dim=-1)
        nearest = distances.masked_fill(~negative, torch.inf).argmin(dim=-1)
        valid = (positive.any(dim=1) & negative.any(dim=1)).expand(farthest.shape)
    to_positive, to_negative = features - _at(features, farthest), features - _at(features, nearest)
    if squared:
        gap = to_positive.square().sum(dim=-1) - to_negative.square().sum(dim=-1)
    else:
        gap = torch.linalg.vector_norm(to_positive, dim=-1) - torch.linalg.vector_norm(to_negative, dim=-1)
    gap = gap + (margin or 0.0)
    loss = F.softplus(gap) if soft or margin is None else F.relu(gap)
    total = (loss * valid).sum()
    return total if reduction == "sum" else total / valid.sum().clamp(min=1)


def _at(features: Tensor, places: Tensor) -> Tensor:
    """The samples `(..., B, D)` at places `(..., B)`."""
    if features.dim() == 2:
        return features[places]
    return features[torch.arange(len(features), device=features.device)[:, None], places]
