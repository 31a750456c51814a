"""Mean and covariance of a feature map's channels, over all processes if asked."""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from src.runtime.precision import full_precision

POSITIONS = 4096  # centred at a time


def mean_covariance(x: Tensor, sync: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased covariance of the channels over batch and positions, differentiable.

    Only `x` is kept for the gradient, which is one matrix product: neither a centred nor a float32 copy of the whole
    map is made. Computed in at least float32.

    Args:
        x: `(B, C, h, w)`.
        sync: Count the samples of all processes of the default group.

    Returns:
        Mean `(C,)`, covariance `(C, C)` and the number of positions they were taken over.
    """
    return _MeanCovariance.apply(x, sync)


class _MeanCovariance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sync: bool) -> tuple[Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(x.dtype, torch.float32)
        total = torch.cat([x.sum(dim=(0, 2, 3), dtype=dtype), x.new_full((1,), x.numel() // x.shape[1], dtype=dtype)])
        if sync:
            distributed.all_reduce(total)
        mean, count = total[:-1] / total[-1], total[-1]
        covariance = torch.zeros(x.shape[1], x.shape[1], dtype=dtype, device=x.device)
        for samples in x.split(max(1, POSITIONS // (x.shape[2] * x.shape[3]))):
            # centred first: the difference of two large moments would lose the small ones
            centred = samples.transpose(0, 1).flatten(1) - mean[:, None]
            with full_precision(x.device.type):
                covariance.addmm_(centred, centred.T)
        if sync:
            distributed.all_reduce(covariance)
        covariance /= count
        ctx.save_for_backward(x, mean, count)
        ctx.sync = sync
        ctx.mark_non_differentiable(count)
        return mean, covariance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor, grad_covariance: Tensor, _: Any) -> tuple[Tensor, None]:
        x, mean, count = ctx.saved_tensors
        slope = grad_covariance + grad_covariance.T
        if ctx.sync:  # every process' loss depends on every process' samples
            grad_mean = grad_mean.contiguous().clone()
            distributed.all_reduce(grad_mean)
            distributed.all_reduce(slope)
        # ∂L/∂x = grad_mean / n + slope · (x − mean) / n; the mean's own share in the covariance cancels
        offset = (grad_mean - slope @ mean) / count
        weight = (slope / count)[:, :, None, None]
        return F.conv2d(x, weight.to(x.dtype), offset.to(x.dtype)), None
