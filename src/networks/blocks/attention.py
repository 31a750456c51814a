"""AttentionNet of DFR-ST: which channels and which places matter."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Placement = Literal["channel", "spatial", "channel_spatial", "spatial_channel", "parallel"]


class ChannelAttention(nn.Module):
    """One gate a channel: `σ(MLP(average over places) + MLP(maximum over places))` (DFR-ST, Section III-B2).

    Args:
        channels: Number of channels C.
        bias: Biases in the MLP, which the printed formula does not have.
        reduction: The shared MLP is C → C / reduction → C with a ReLU between.
    """

    def __init__(self, channels: int, bias: bool = True, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden, bias), nn.ReLU(inplace=True), nn.Linear(hidden, channels, bias)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Gates `(B, C, 1, 1)` of a map `(B, C, h, w)`."""
        average, largest = mean_and_max(x, (2, 3)) if self.training else (x.mean(dim=(2, 3)), x.amax(dim=(2, 3)))
        return torch.sigmoid(self.mlp(torch.stack([average, largest])).sum(dim=0))[..., None, None]


class SpatialAttention(nn.Module):
    """One gate a place: `σ(conv([maximum over channels ; average over channels]))` (DFR-ST, Section III-B2).

    Args:
        kernel: Side of the convolution's kernel, odd.

    Raises:
        ValueError: If the kernel has no centre.
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"attention_kernel is {kernel}, expected an odd number: a kernel with a centre.")
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gates `(B, 1, h, w)` of a map `(B, C, h, w)`."""
        average, largest = mean_and_max(x, (1,)) if self.training else (x.mean(dim=1), x.amax(dim=1))
        return torch.sigmoid(self.conv(torch.stack([largest, average], dim=1)))


def mean_and_max(x: Tensor, dim: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Average and maximum over some dimensions, with a gradient that is written once for both.

    Equal maxima share the gradient, as they do with `amax`.
    """
    found: tuple[Tensor, Tensor] = _MeanAndMax.apply(x, dim)
    return found


class _MeanAndMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        largest = x.amax(dim, keepdim=True)
        ctx.save_for_backward(x, largest)
        ctx.dim = dim
        return x.mean(dim), largest.squeeze(dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, average: Tensor, largest: Tensor) -> tuple[Tensor, None]:
        x, maximum = ctx.saved_tensors
        mask = x == maximum
        equal = mask.sum(ctx.dim, keepdim=True)
        everywhere = average.reshape(maximum.shape) * (maximum.numel() / x.numel())
        there = everywhere + largest.reshape(maximum.shape) / equal
        return torch.where(mask, there, everywhere).to(x.dtype), None


class AttentionNet(nn.Module):
    """Channel and spatial attention over a map, in the order of Table IX.

    Args:
        channels: Number of channels of the map.
        placement: `"channel_spatial"` is the paper's; `"parallel"` computes both gates from the same map.
        bias: Biases in the channel attention; the spatial one has none, as printed.
        reduction: Of the channel attention's hidden layer.
        kernel: Side of the spatial attention's kernel.

    Raises:
        ValueError: If the placement is unknown, or the kernel has no centre.
    """

    def __init__(
        self,
        channels: int,
        placement: Placement = "channel_spatial",
        bias: bool = True,
        reduction: int = 16,
        kernel: int = 7,
    ) -> None:
        super().__init__()
        if placement not in get_args(Placement):
            raise ValueError(f"attention is {placement!r}, expected null or one of {', '.join(get_args(Placement))}.")
        self.placement = placement
        self.channel = ChannelAttention(channels, bias, reduction) if placement != "spatial" else None
        self.spatial = SpatialAttention(kernel) if placement != "channel" else None

    def forward(self, x: Tensor) -> Tensor:
        """The weighted map, `(B, C, h, w)` like the one that comes in."""
        x, gate = self.apart(x)
        return x if gate is None else x * gate

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """A map whose product with a gate `(B, 1, h, w)` is the weighted one; None for a map that is that already."""
        channel, spatial = self.channel, self.spatial
        if channel is None:
            return x, None if spatial is None else spatial(x)
        if self.placement == "spatial_channel" and spatial is not None:
            x = x * spatial(x)
            return x * channel(x), None
        gated = x * channel(x)
        return gated, None if spatial is None else spatial(x if self.placement == "parallel" else gated)
