"""DSE: dual-domain structure enhancement."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Values worked on at a time. The dozen passes over a block's neighbours should find it in the cache (L2 of a core, of
# a GPU); the blocks also bound the extra memory.
BLOCK = {"cpu": 1 << 17, "cuda": 1 << 21}


class StructureEnhancement(nn.Module):
    """Adds to every position a summary of how its neighbourhood rises above it, channel by channel.

    With the neighbours d of an N × N window, zeros outside the map, `G_d(x) = max(0, T(x+d) − T(x))` and
    `S(x) = Σ_d G_d(x) T(x+d) / (1 + Σ_d G_d(x))`: `T ← T + β S`. DNDM (CVPR 2024), Eq. 7 to 9.

    The N² neighbours are never held at once, neither forward nor for the gradient: besides its input and output it
    needs memory for one block only. Computed in at least float32.

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
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return enhance_by_formula(x, self.beta, self.window)  # a compiler fuses the loop itself
        return _Enhance.apply(x, self.beta, self.window)


def enhance_by_formula(x: Tensor, beta: float, window: int) -> Tensor:
    """`StructureEnhancement` in plain differentiable operations: for compilers and export, and to compare with."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    r = window // 2
    height, width = x.shape[2:]
    padded = F.pad(wide, (r, r, r, r))
    total, weighted = torch.zeros_like(wide), torch.zeros_like(wide)
    for dy, dx in product(range(window), repeat=2):
        neighbour = padded[:, :, dy : dy + height, dx : dx + width]
        gradient = (neighbour - wide).relu()  # zero for the centre itself
        total = total + gradient
        weighted = weighted + gradient * neighbour
    return (wide + beta * weighted / (1 + total)).to(x.dtype)


class _Enhance(torch.autograd.Function):
    """The enhancement block by block, saving its input only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: float, window: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.beta, ctx.window = beta, window
        out = torch.empty_like(x)
        for block in _blocks(x):
            rows = _Rows(x[block].shape, window, x)
            t = rows.lay(x[block])
            centre = rows.centre(t)
            total, squares = torch.zeros_like(centre), torch.zeros_like(centre)
            for rise in rows.rises(t):
                total.add_(rise)
                squares.addcmul_(rise, rise)
            s = squares.addcmul_(centre, total).div_(total.add_(1))  # G · T(x+d) = G² + G · T(x)
            out[block] = rows.take(s.mul_(beta).add_(centre))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # A position z and a neighbour y that rises above it, with u(z) = ∂L/∂S(z) / (1 + ΣG(z)):
        #   ∂S(z)/∂T(z) = −Σ_y (T(y) − S(z)) / (1 + ΣG(z))        ∂S(z)/∂T(y) = (2 T(y) − T(z) − S(z)) / (1 + ΣG(z))
        # So a position collects −u (ΣG + n (T − S)) from its own S, n being the number of its higher neighbours, and
        # 2 T Σ_z u(z) − Σ_z u(z) (T(z) + S(z)) from the S of its lower neighbours z.
        (x,) = ctx.saved_tensors
        out = torch.empty_like(x)
        for block in _blocks(x):
            rows = _Rows(x[block].shape, ctx.window, x)
            t = rows.lay(x[block])
            g = rows.centre(rows.lay(grad[block]))
            centre = rows.centre(t)
            total, squares, higher = (torch.zeros_like(centre) for _ in range(3))
            for rise in rows.rises(t):
                total.add_(rise)
                squares.addcmul_(rise, rise)
                higher.add_(rise.sign_())
            s = squares.addcmul_(centre, total) / (1 + total)
            u = rows.blank()
            rows.centre(u).copy_(g).mul_(ctx.beta).div_(1 + total)  # zero on the padding, which has no S
            v = rows.blank()
            torch.mul(rows.centre(u), s + centre, out=rows.centre(v))
            sum_u, sum_v = rows.from_lower(t, u, v)
            result = sum_u.mul_(centre).mul_(2).sub_(sum_v).add_(g)
            result.sub_(higher.mul_(centre - s).add_(total).mul_(rows.centre(u)))
            out[block] = rows.take(result)
        return out, None, None


class _Rows:
    """A block of maps as one line of memory in which every neighbour is a constant step away.

    A row of w values is followed by r zeros, which pad it on the right and the next row on the left; likewise a map is
    followed by r rows of zeros. So every operation runs over contiguous memory, and what it computes on the padding is
    thrown away.
    """

    def __init__(self, shape: torch.Size, window: int, like: Tensor) -> None:
        r = window // 2
        self.shape = shape
        self.padded = (*shape[:-2], shape[-2] + r, shape[-1] + r)
        pitch = shape[-1] + r
        self.margin = r * pitch + r
        self.length = torch.Size(self.padded).numel()
        self.steps = [dy * pitch + dx for dy, dx in product(range(-r, r + 1), repeat=2) if (dy, dx) != (0, 0)]
        self.dtype = torch.promote_types(like.dtype, torch.float32)
        self.device = like.device

    def blank(self) -> Tensor:
        """Zeros, with a margin that the first and the last positions' neighbours fall into."""
        return torch.zeros(self.length + 2 * self.margin, dtype=self.dtype, device=self.device)

    def lay(self, maps: Tensor) -> Tensor:
        """Maps of any layout, laid out as a line."""
        line = self.blank()
        self.take(self.centre(line)).copy_(maps)
        return line

    def centre(self, line: Tensor, step: int = 0) -> Tensor:
        """The positions themselves, or their neighbours at a step."""
        return line[self.margin + step : self.margin + step + self.length]

    def take(self, values: Tensor) -> Tensor:
        """The maps in values `(length,)`, without the padding."""
        return values.view(self.padded)[..., : self.shape[-2], : self.shape[-1]]

    def rises(self, t: Tensor) -> Iterator[Tensor]:
        """G of one neighbour after the other, each in the same memory."""
        centre = self.centre(t)
        g = torch.empty_like(centre)
        for step in self.steps:
            yield torch.sub(self.centre(t, step), centre, out=g).relu_()

    def from_lower(self, t: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of u and of v over the neighbours that lie lower."""
        centre = self.centre(t)
        sum_u, sum_v, lower = (torch.zeros_like(centre) for _ in range(3))
        for step in self.steps:
            torch.lt(self.centre(t, step), centre, out=lower)
            sum_u.addcmul_(lower, self.centre(u, step))
            sum_v.addcmul_(lower, self.centre(v, step))
        return sum_u, sum_v


def _blocks(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of the batch and channel axes that hold about `BLOCK` values."""
    size = BLOCK.get(x.device.type, BLOCK["cuda"])
    maps = max(1, size // max(1, x.shape[2] * x.shape[3]))
    channels = min(x.shape[1], maps)
    samples = max(1, maps // channels)
    for b in range(0, x.shape[0], samples):
        for c in range(0, x.shape[1], channels):
            yield slice(b, b + samples), slice(c, c + channels)
