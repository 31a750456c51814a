"""The structure enhancement and its gradient as Triton kernels, for GPUs. See `structure` for the formulas."""

import contextlib
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton import language as tl

# Values of a map that a program of 128 threads works on. With channels last, eight a thread are one load of 16 bytes in
# bfloat16; with rows last, a neighbour's place is no multiple of that, and each value costs registers of its own.
TILE, ACROSS = 1024, 128  # of these values, so many channels at most
ROW = 256
# Values whose slopes the backward pass keeps at a time: 48 MB in float32, about as much as the cache of a large GPU.
CHUNK = 1 << 22


def enhance(x: Tensor, beta: float, window: int) -> Tensor:
    """`T + β S` of features `(B, C, h, w)`, which are read once and written once."""
    out = torch.empty_like(x)
    if x.numel():
        launch = _launch(out, beta, window)
        with _on(x.device):
            _enhance[launch.grid](_laid_as(out, x), out, *launch.shape, **launch.constants)
    return out


def gradient(x: Tensor, grad: Tensor, beta: float, window: int) -> Tensor:
    """The gradient for `x`, given that for `enhance(x)`: two passes over some samples at a time."""
    out = torch.empty_like(x)
    if not x.numel():
        return out
    count = max(1, CHUNK // x[0].numel())
    wide = torch.promote_types(x.dtype, torch.float32)
    part = out[:count]  # not always dense, if samples do not lie one after the other
    slopes = [torch.empty_strided(part.shape, part.stride(), dtype=wide, device=x.device) for _ in range(3)]
    with _on(x.device):
        for t, g, result in zip(
            *(maps.split(count) for maps in (_laid_as(out, x), _laid_as(out, grad), out)), strict=True
        ):
            launch = _launch(result, beta, window)
            _slopes[launch.grid](t, g, *slopes, *launch.shape, **launch.constants)
            _collect[launch.grid](t, *slopes, result, *launch.shape, **launch.constants)
    return out


class _Launch(NamedTuple):
    grid: tuple[int, int]
    shape: tuple[int, ...]
    constants: dict[str, Any]


def _launch(maps: Tensor, beta: float, window: int) -> _Launch:
    """Programs over maps `(B, C, h, w)`: neighbouring threads work on values that lie side by side in memory."""
    samples, channels, height, width = maps.shape
    across = maps.stride(1) <= maps.stride(3)  # channels last
    wide = min(ACROSS, triton.next_power_of_2(channels)) if across else 1
    positions = TILE // wide if across else ROW
    grid = (samples * triton.cdiv(height * width, positions), triton.cdiv(channels, wide))
    kind = tl.float64 if maps.dtype == torch.float64 else tl.float32
    constants = {"BETA": beta, "WINDOW": window, "WIDE": kind, "POSITIONS": positions, "CHANNELS": wide}
    return _Launch(grid, (channels, height, width, *maps.stride()), constants)


def _laid_as(model: Tensor, maps: Tensor) -> Tensor:
    """Maps in the memory layout of others, which they usually have."""
    return maps if maps.stride() == model.stride() else torch.empty_like(model, dtype=maps.dtype).copy_(maps)


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Kernels start on the current GPU, which need not be that of the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


@triton.jit
def _enhance(
    x,
    out,
    channels,
    height,
    width,
    sb,
    sc,
    sh,
    sw,
    BETA: tl.constexpr,
    WINDOW: tl.constexpr,
    WIDE: tl.constexpr,
    POSITIONS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    sample, row, column, place, inside = _tile(channels, height, width, sc, sh, sw, POSITIONS, CHANNELS)
    x += sample * sb
    t = tl.load(x + place, mask=inside, other=0.0).to(WIDE)
    total, squares, _ = _rises(x, t, row, column, place, inside, height, width, sh, sw, WINDOW)
    s = (squares + t * total) / (1 + total)  # as G · T(x+d) = G² + G · T(x)
    tl.store(out + sample * sb + place, (t + BETA * s).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _slopes(
    x,
    grad,
    u,
    v,
    own,
    channels,
    height,
    width,
    sb,
    sc,
    sh,
    sw,
    BETA: tl.constexpr,
    WINDOW: tl.constexpr,
    WIDE: tl.constexpr,
    POSITIONS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    sample, row, column, place, inside = _tile(channels, height, width, sc, sh, sw, POSITIONS, CHANNELS)
    start = sample * sb
    t = tl.load(x + start + place, mask=inside, other=0.0).to(WIDE)
    total, squares, higher = _rises(x + start, t, row, column, place, inside, height, width, sh, sw, WINDOW)
    s = (squares + t * total) / (1 + total)
    g = tl.load(grad + start + place, mask=inside, other=0.0).to(WIDE)
    slope = BETA * g / (1 + total)
    tl.store(u + start + place, slope, mask=inside)
    tl.store(v + start + place, slope * (t + s), mask=inside)
    tl.store(own + start + place, g - slope * (total + higher * (t - s)), mask=inside)


@triton.jit
def _collect(
    x,
    u,
    v,
    own,
    out,
    channels,
    height,
    width,
    sb,
    sc,
    sh,
    sw,
    BETA: tl.constexpr,
    WINDOW: tl.constexpr,
    WIDE: tl.constexpr,
    POSITIONS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    sample, row, column, place, inside = _tile(channels, height, width, sc, sh, sw, POSITIONS, CHANNELS)
    start = sample * sb
    t = tl.load(x + start + place, mask=inside, other=0.0).to(WIDE)
    sum_u = tl.full([POSITIONS, CHANNELS], 0, WIDE)
    sum_v = tl.full([POSITIONS, CHANNELS], 0, WIDE)
    for dy in range(-(WINDOW // 2), WINDOW // 2 + 1):
        for dx in tl.static_range(-(WINDOW // 2), WINDOW // 2 + 1):
            there = inside & _there(row + dy, column + dx, height, width)[:, None]
            step = start + dy * sh + dx * sw
            lower = tl.load(x + step + place, mask=there, other=0.0).to(WIDE) < t
            sum_u += tl.where(lower, tl.load(u + step + place, mask=there, other=0.0), 0)
            sum_v += tl.where(lower, tl.load(v + step + place, mask=there, other=0.0), 0)
    result = tl.load(own + start + place, mask=inside, other=0.0) + 2 * t * sum_u - sum_v
    tl.store(out + start + place, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _tile(channels, height, width, sc, sh, sw, POSITIONS: tl.constexpr, CHANNELS: tl.constexpr):
    """A program's sample, and rows, columns, places in memory and masks of its positions and channels."""
    blocks = (height * width + POSITIONS - 1) // POSITIONS
    sample = tl.program_id(0) // blocks
    position = (tl.program_id(0) % blocks) * POSITIONS + tl.arange(0, POSITIONS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    row = position // width
    column = position % width
    place = (row * sh + column * sw)[:, None] + (channel * sc)[None, :]
    inside = (position < height * width)[:, None] & (channel < channels)[None, :]
    return sample.to(tl.int64), row, column, place, inside


@triton.jit
def _there(row, column, height, width):
    return (row >= 0) & (row < height) & (column >= 0) & (column < width)


@triton.jit
def _rises(x, t, row, column, place, inside, height, width, sh, sw, WINDOW: tl.constexpr):
    """Over the neighbours: the sum of their rises, of the squares of these, and how many there are."""
    total = tl.full(t.shape, 0, t.dtype)
    squares = tl.full(t.shape, 0, t.dtype)
    higher = tl.full(t.shape, 0, t.dtype)
    for dy in range(-(WINDOW // 2), WINDOW // 2 + 1):
        for dx in tl.static_range(-(WINDOW // 2), WINDOW // 2 + 1):
            there = inside & _there(row + dy, column + dx, height, width)[:, None]
            near = tl.load(x + (dy * sh + dx * sw) + place, mask=there, other=0.0).to(t.dtype)
            rise = tl.maximum(near - t, 0.0, propagate_nan=tl.PropagateNan.ALL)
            total += rise
            squares += rise * rise
            higher += tl.where(rise > 0, 1.0, 0.0)
    return total, squares, higher
