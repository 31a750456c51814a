"""DSE: dual-domain structure enhancement."""

import importlib.util
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.networks.blocks import structure_blocks


class StructureEnhancement(nn.Module):
    """Adds to every position a summary of how its neighbourhood rises above it, channel by channel.

    With the neighbours d of an N × N window, zeros outside the map, `G_d(x) = max(0, T(x+d) − T(x))` and
    `S(x) = Σ_d G_d(x) T(x+d) / (1 + Σ_d G_d(x))`: `T ← T + β S`. DNDM (CVPR 2024), Eq. 7 to 9.

    One operation, `torch.ops.vehicle_reid.enhance`, which keeps only its input for the gradient and computes in at
    least float32: blocks in the cache on a CPU, Triton kernels on a GPU, plain formulas elsewhere and when exported.

    Args:
        beta: Strength β.
        window: Side N of the window, odd.

    Raises:
        ValueError: The window is not odd.
    """

    def __init__(self, beta: float = 0.25, window: int = 5) -> None:
        super().__init__()
        if window < 3 or window % 2 == 0:
            raise ValueError(f"The window of the structure enhancement must be odd and at least 3, got {window}.")
        self.beta = beta
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """Enhances features `(B, C, h, w)`."""
        if _exports():
            return enhance(x, self.beta, self.window)
        out: Tensor = torch.ops.vehicle_reid.enhance(x, self.beta, self.window)
        return out


def enhance(x: Tensor, beta: float, window: int) -> Tensor:
    """`StructureEnhancement` in plain operations."""
    t = x.to(torch.promote_types(x.dtype, torch.float32))
    total, weighted = torch.zeros_like(t), torch.zeros_like(t)
    for neighbour in _neighbours(t, window):
        rise = (neighbour - t).relu()
        total = total + rise
        weighted = weighted + rise * neighbour
    return (t + beta * weighted / (1 + total)).to(x.dtype)


def gradient(x: Tensor, grad: Tensor, beta: float, window: int) -> Tensor:
    """The gradient for `x`, given that for the enhanced features.

    Take a position z and a neighbour y that rises above it, and let u(z) be ∂L/∂S(z) / (1 + ΣG(z)). Then
    ∂S(z)/∂T(z) = −Σ_y (T(y) − S(z)) / (1 + ΣG(z)) and ∂S(z)/∂T(y) = (2 T(y) − T(z) − S(z)) / (1 + ΣG(z)). So a position
    collects −u (ΣG + n (T − S)) from its own S, n being the number of its higher neighbours, and
    2 T Σ_z u(z) − Σ_z u(z) (T(z) + S(z)) from the S of its lower neighbours z.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    t, g = x.to(wide), grad.to(wide)
    total, squares, higher = torch.zeros_like(t), torch.zeros_like(t), torch.zeros_like(t)
    for neighbour in _neighbours(t, window):
        rise = (neighbour - t).relu()
        total = total + rise
        squares = squares + rise * rise
        higher = higher + (rise > 0)
    s = (squares + t * total) / (1 + total)  # as G · T(x+d) = G² + G · T(x)
    u = beta * g / (1 + total)
    sum_u, sum_v = torch.zeros_like(t), torch.zeros_like(t)
    each = (_neighbours(values, window) for values in (t, u, u * (t + s)))
    for neighbour, neighbour_u, neighbour_v in zip(*each, strict=True):
        lower = neighbour < t
        sum_u = sum_u + lower * neighbour_u
        sum_v = sum_v + lower * neighbour_v
    return (g - u * (total + higher * (t - s)) + 2 * t * sum_u - sum_v).to(x.dtype)


def _neighbours(x: Tensor, window: int) -> list[Tensor]:
    """The map shifted to every place of the window; the one in the centre changes no sum."""
    r, (height, width) = window // 2, x.shape[2:]
    padded = F.pad(x, (r, r, r, r))
    return [padded[:, :, dy : dy + height, dx : dx + width] for dy in range(window) for dx in range(window)]


@torch.library.custom_op("vehicle_reid::enhance", mutates_args=())
def _enhance(x: Tensor, beta: float, window: int) -> Tensor:
    return enhance(x, beta, window)


@torch.library.custom_op("vehicle_reid::enhance_gradient", mutates_args=())
def _gradient(x: Tensor, grad: Tensor, beta: float, window: int) -> Tensor:
    return gradient(x, grad, beta, window)


def _like_input(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Tensor, float, int], output: Tensor) -> None:  # noqa: ARG001  (torch names it)
    x, ctx.beta, ctx.window = inputs
    ctx.save_for_backward(x)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    (x,) = ctx.saved_tensors
    return _gradient(x, grad, ctx.beta, ctx.window), None, None


_enhance.register_autograd(_backward, setup_context=_keep)
_enhance.register_fake(_like_input)
_gradient.register_fake(_like_input)
_enhance.register_kernel("cpu")(structure_blocks.enhance)
_gradient.register_kernel("cpu")(structure_blocks.gradient)
_enhance.register_kernel("cuda")(lambda *args: _kernels().enhance(*args))
_gradient.register_kernel("cuda")(lambda *args: _kernels().gradient(*args))


def _kernels() -> Any:
    """The module with a GPU's `enhance` and `gradient`: Triton comes with torch, but not everywhere."""
    if importlib.util.find_spec("triton") is None:
        return sys.modules[__name__]
    from src.networks.blocks import structure_kernels

    return structure_kernels


def _exports() -> bool:
    """Whether the network is being written as a graph for others, who have operations of torch only."""
    exports = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch 2.6 has the latter alone
    return bool(exports()) or torch.jit.is_tracing()
