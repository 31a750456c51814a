"""Hiera as a stem and stages: its tokens lie in the order of its windows, a map in rows."""

from collections import OrderedDict
from itertools import pairwise
from typing import Any

from timm.layers import resample_abs_pos_embed
from timm.models.hiera import Hiera, Reroll, Unroll
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class HieraStem(nn.Module):
    """Patches and position embeddings, of timm's Hiera without its blocks.

    Args:
        model: timm's network; its blocks and its head are taken away.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.blocks, model.head = nn.ModuleList(), nn.Identity()
        self.model: Any = model

    def forward(self, x: Tensor, carried: Any = None) -> tuple[Tensor, Any]:
        """The map `(B, C, h, w)` of normalised images.

        Raises:
            ValueError: If the images' sides are no multiples of the largest window's.
        """
        x = self.model.patch_embed.proj(x)
        rows, columns = x.shape[2:]
        window = self.model.mask_unit_size
        if rows % window[0] or columns % window[1]:
            pixels = [w * s for w, s in zip(window, self.model.patch_stride, strict=True)]
            raise ValueError(
                f"Hiera takes images whose sides are multiples of {pixels}; pass transforms.size=256, say."
            )
        return x + self._positions(rows, columns), carried

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings `(1, C, h, w)`: resampled, or windows side by side over resampled ones."""
        model = self.model
        if model.pos_embed_win is None:
            resampled = resample_abs_pos_embed(
                model.pos_embed, (rows, columns), model.tokens_spatial_shape, num_prefix_tokens=0
            )
            return resampled.transpose(1, 2).unflatten(2, (rows, columns))
        window = model.mask_unit_size
        spread = F.interpolate(model.pos_embed, (rows, columns), mode="bicubic", antialias=True)
        return spread + model.pos_embed_win.tile(rows // window[0], columns // window[1])


class HieraStage(nn.Module):
    """Blocks of one resolution, from map to map; the first of them halves it, but in the first stage.

    Args:
        blocks: timm's blocks, by name.
        halvings: How many halvings the order of its tokens foresees when they come in, and when they go out.
    """

    def __init__(self, blocks: "OrderedDict[str, nn.Module]", halvings: tuple[int, int]) -> None:
        super().__init__()
        self._blocks, self._halvings = tuple(blocks), halvings
        for name, block in blocks.items():
            self.add_module(name, block)
        self.grad_checkpointing = False

    def forward(self, x: Tensor, carried: Any = None) -> tuple[Tensor, Any]:
        """The map after the blocks."""
        before, after = self._halvings
        size = (x.shape[2], x.shape[3])
        tokens = Unroll(size, (1, 1), [(2, 2)] * before)(x.flatten(2).transpose(1, 2).contiguous())
        for name in self._blocks:
            block = self.get_submodule(name)
            again = self.grad_checkpointing and self.training
            tokens = checkpoint(block, tokens, use_reentrant=False) if again else block(tokens)
        size = (size[0] >> (before - after), size[1] >> (before - after))
        rows = Reroll(size, (1, 1), [(2, 2)] * after, [0], 0)(tokens, 0)
        return rows.permute(0, 3, 1, 2), carried


def cut_hiera(model: Hiera) -> tuple[HieraStem, list[HieraStage], dict[str, str]]:
    """Hiera as stem and stages.

    Returns:
        Stem and stages, and from each module's name here to timm's.
    """
    ends = [-1, *model.stage_ends]
    left = [len(ends) - 2 - min(s, model.q_pool) for s in range(len(ends) - 1)]  # halvings to come, after each stage
    stages, origin = [], {"stem.model": ""}
    for s, (start, stop) in enumerate(pairwise(ends)):
        numbers = range(start + 1, stop + 1)
        blocks = OrderedDict((f"blocks_{i}", model.blocks[i]) for i in numbers)
        stages.append(HieraStage(blocks, (left[max(s - 1, 0)], left[s])))
        origin |= {f"stages.{s}.blocks_{i}": f"blocks.{i}" for i in numbers}
    return HieraStem(model), stages, origin
