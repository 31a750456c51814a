"""The structure enhancement and its gradient, block by block in the cache. See `structure` for the formulas."""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from src.runtime.threads import for_each

# Values a thread works on at a time: the dozens of passes over a block should find it in the cache. A block belongs to
# one thread, for passes shared by all threads would wait for the slowest of them a hundred times.
BLOCK = 1 << 17


def enhance(x: Tensor, beta: float, window: int) -> Tensor:
    """`T + β S` of features `(B, C, h, w)` in any memory layout."""
    out = torch.empty_like(x)
    blocks = _blocks(x)

    def work(number: int) -> None:
        block = blocks[number]
        rows = _Rows(x[block], window)
        t = rows.lay(x[block])
        centre = rows.centre(t)
        total, squares = torch.zeros_like(centre), torch.zeros_like(centre)
        for rise in rows.rises(t):
            total.add_(rise)
            squares.addcmul_(rise, rise)
        s = squares.addcmul_(centre, total).div_(total.add_(1))
        out[block] = rows.take(s.mul_(beta).add_(centre))

    for_each(work, len(blocks))
    return out


def gradient(x: Tensor, grad: Tensor, beta: float, window: int) -> Tensor:
    """The gradient for `x`, given that for `enhance(x)`."""
    out = torch.empty_like(x)
    blocks = _blocks(x)

    def work(number: int) -> None:
        block = blocks[number]
        rows = _Rows(x[block], window)
        t = rows.lay(x[block])
        centre = rows.centre(t)
        total, squares, higher = (torch.zeros_like(centre) for _ in range(3))
        for rise in rows.rises(t):
            total.add_(rise)
            squares.addcmul_(rise, rise)
            higher.add_(rise.sign_())
        s = squares.addcmul_(centre, total) / (1 + total)
        g = rows.centre(rows.lay(grad[block]))
        u, v = rows.blank(), rows.blank()
        own_u, own_v = rows.centre(u), rows.centre(v)
        torch.mul(g, beta, out=own_u).div_(1 + total)  # zero on the padding, as g is: the padding has no S
        torch.mul(own_u, s + centre, out=own_v)
        sum_u, sum_v, lower = (torch.zeros_like(centre) for _ in range(3))
        for step in rows.steps:
            torch.lt(rows.centre(t, step), centre, out=lower)
            sum_u.addcmul_(lower, rows.centre(u, step))
            sum_v.addcmul_(lower, rows.centre(v, step))
        result = sum_u.mul_(centre).mul_(2).sub_(sum_v).add_(g)
        result.sub_(higher.mul_(centre - s).add_(total).mul_(own_u))
        out[block] = rows.take(result)

    for_each(work, len(blocks))
    return out


class _Rows:
    """A block of maps as one line of memory in which every neighbour is a constant step away.

    A row of w values is followed by r zeros, which pad it on the right and the next row on the left; likewise a map is
    followed by r rows of zeros. So every operation runs over contiguous memory, and what it computes on the padding is
    thrown away.
    """

    def __init__(self, maps: Tensor, window: int) -> None:
        r = window // 2
        *outer, self.height, self.width = maps.shape
        pitch = self.width + r
        self.padded = (*outer, self.height + r, pitch)
        self.length = torch.Size(self.padded).numel()
        self.margin = r * pitch + r
        self.steps = [dy * pitch + dx for dy, dx in product(range(-r, r + 1), repeat=2) if (dy, dx) != (0, 0)]
        self.dtype = torch.promote_types(maps.dtype, torch.float32)
        self.device = maps.device

    def blank(self) -> Tensor:
        """Zeros, with a margin that the first and the last positions' neighbours fall into."""
        return torch.zeros(self.length + 2 * self.margin, dtype=self.dtype, device=self.device)

    def lay(self, maps: Tensor) -> Tensor:
        """Maps of any memory layout, laid out as a line."""
        line = self.blank()
        self.take(self.centre(line)).copy_(maps)
        return line

    def centre(self, line: Tensor, step: int = 0) -> Tensor:
        """The positions themselves, or their neighbours at a step."""
        return line[self.margin + step : self.margin + step + self.length]

    def take(self, values: Tensor) -> Tensor:
        """The maps in values `(length,)`, without the padding."""
        return values.view(self.padded)[..., : self.height, : self.width]

    def rises(self, t: Tensor) -> Iterator[Tensor]:
        """`max(0, T(x+d) − T(x))` for one neighbour after the other, each in the same memory."""
        centre = self.centre(t)
        rise = torch.empty_like(centre)
        for step in self.steps:
            yield torch.sub(self.centre(t, step), centre, out=rise).relu_()


def _blocks(x: Tensor) -> list[tuple[slice, slice]]:
    """Slices of the batch and channel axes that hold about `BLOCK` values."""
    maps = max(1, BLOCK // max(1, x.shape[2] * x.shape[3]))
    channels = max(1, min(x.shape[1], maps))
    samples = max(1, maps // channels)
    firsts = product(range(0, x.shape[0], samples), range(0, x.shape[1], channels))
    return [(slice(b, b + samples), slice(c, c + channels)) for b, c in firsts]
