"""Plain vision transformers as a stem and stages: a map of tokens, and the tokens that have no place on it."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from timm.layers import PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Carried(NamedTuple):
    """Tokens that the stages of a transformer pass on beside their map.

    Attributes:
        prefix: The tokens that have no place on the map, `(B, P, C)`: class token first, then registers; None for none.
        rope: Rotary position embeddings of the map's places, as timm makes them; None if the network has none.
    """

    prefix: Tensor | None = None
    rope: Any = None


def to_tokens(x: Tensor, carried: Carried) -> Tensor:
    """All tokens `(B, P + h w, C)` of a map `(B, C, h, w)`, those without a place first."""
    tokens = x.flatten(2).transpose(1, 2)
    return tokens if carried.prefix is None else torch.cat([carried.prefix, tokens], dim=1)


def to_map(tokens: Tensor, carried: Carried, size: Sequence[int]) -> tuple[Tensor, Carried]:
    """The map of height and width `size` and what is carried beside it: undoes `to_tokens`."""
    count = 0 if carried.prefix is None else carried.prefix.shape[1]
    x = tokens[:, count:].transpose(1, 2).unflatten(2, tuple(size))
    return x, carried if count == 0 else carried._replace(prefix=tokens[:, :count])


class PatchStem(nn.Module):
    """Patches, position embeddings and the norm before the first block, of timm's transformer without its blocks.

    Position embeddings are resampled to the map at hand (bicubic, as timm does), class and register tokens are put
    beside it. What does not fill a patch at the right and at the bottom is not seen.

    Args:
        model: A plain vision transformer of timm; its blocks and its head are taken away.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.blocks, model.norm = nn.ModuleList(), nn.Identity()
        model.fc_norm, model.head, model.attn_pool = nn.Identity(), nn.Identity(), nn.Identity()
        self.model: Any = model

    def forward(self, x: Tensor, _: Carried | None = None) -> tuple[Tensor, Carried]:
        """The map `(B, C, h, w)` of normalised images, and what is carried beside it."""
        patches = self.model.patch_embed.proj(x)
        embedded = self.model._pos_embed(self.model.patch_embed.norm(patches.permute(0, 2, 3, 1)))
        tokens, rope = embedded if isinstance(embedded, tuple) else (embedded, None)
        tokens, count = self.model.norm_pre(tokens), self.model.num_prefix_tokens
        carried = Carried(tokens[:, :count] if count else None, rope)
        return to_map(tokens, carried, patches.shape[2:])

    @property
    def stride(self) -> int:
        """Distance of neighbouring patches, in pixels."""
        return int(self.model.patch_embed.proj.stride[0])

    def use_stride(self, stride: int) -> None:
        """Lets patches overlap: moves them by so many pixels instead of their own side.

        Raises:
            ValueError: If the stride is not between 1 and the side of a patch.
        """
        side = self.model.patch_embed.patch_size[0]
        if not 1 <= stride <= side:
            raise ValueError(f"patch_stride is {stride}, expected 1 to {side}, the side of a patch.")
        self.model.patch_embed.proj.stride = (stride, stride)

    def use_size(self, size: Sequence[int]) -> None:
        """Makes the position embeddings those of images of this height and width, at the patches' stride.

        Raises:
            ValueError: If the images are smaller than a patch.
        """
        proj = self.model.patch_embed.proj
        grid = [(side - k) // s + 1 for side, k, s in zip(size, proj.kernel_size, proj.stride, strict=True)]
        if min(grid) < 1:
            raise ValueError(f"image_size is {[*size]}, smaller than a patch of {[*proj.kernel_size]} pixels.")
        if self.model.pos_embed is not None:
            resized = self.resized(self.model.pos_embed.detach(), grid)
            self.model.pos_embed = nn.Parameter(resized)
        self.model.patch_embed.grid_size = tuple(grid)
        self.model.patch_embed.img_size = tuple(size)

    def fitted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict with timm's names, made for the tokens and the size that this network has."""
        state = dict(state)
        if "dist_token" in state and not hasattr(self.model, "dist_token"):
            del state["dist_token"]
            state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], state["pos_embed"][:, 2:]], dim=1)
        if "pos_embed" in state:
            state["pos_embed"] = self.resized(state["pos_embed"])
        return state

    def resized(self, embeddings: Tensor, grid: Sequence[int] | None = None) -> Tensor:
        """Position embeddings `(1, P + n, C)` for another grid, bilinear, as TransReID resizes them.

        Args:
            embeddings: Of this network's grid, or of any square one.
            grid: Rows and columns; None for this network's own.

        Raises:
            ValueError: If the embeddings belong to no square grid.
        """
        grid = self.model.patch_embed.grid_size if grid is None else grid
        old = self.model.patch_embed.grid_size
        prefix = 0 if self.model.no_embed_class else self.model.num_prefix_tokens
        fixed, places = embeddings[:, :prefix], embeddings[:, prefix:]
        if places.shape[1] != old[0] * old[1]:
            side = round(places.shape[1] ** 0.5)
            old = (side, side)
            if side * side != places.shape[1]:
                raise ValueError(f"{places.shape[1]} position embeddings make no square; pass backbone.image_size.")
        spread = places.transpose(1, 2).unflatten(2, tuple(old))
        spread = F.interpolate(spread, size=tuple(grid), mode="bilinear").flatten(2).transpose(1, 2)
        return torch.cat([fixed, spread], dim=1)


class BlockStage(nn.Module):
    """Some blocks of a plain transformer one after another, from map to map.

    Args:
        blocks: timm's blocks, by name.
        first: The place of the first of them in the whole network.
        norms: Norms behind the last of them.
    """

    def __init__(self, blocks: "OrderedDict[str, nn.Module]", first: int, norms: "OrderedDict[str, nn.Module]") -> None:
        super().__init__()
        self._blocks, self._norms = tuple(blocks), tuple(norms)
        for name, module in [*blocks.items(), *norms.items()]:
            self.add_module(name, module)
        self.first = first
        self.grad_checkpointing = False

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks in order."""
        return [self.get_submodule(name) for name in self._blocks]

    @property
    def last_layer(self) -> list[nn.Module]:
        """The last block and the norms behind it."""
        return [self.blocks[-1], *(self.get_submodule(name) for name in self._norms)]

    def forward(self, x: Tensor, carried: Carried) -> tuple[Tensor, Carried]:
        """The map after the blocks, and what is carried beside it."""
        tokens = self.run(to_tokens(x, carried), carried.rope)
        return to_map(self.normalise(tokens), carried, x.shape[2:])

    def run(self, tokens: Tensor, rope: Any, part: slice = slice(None)) -> Tensor:
        """Tokens `(B, N, C)` after the blocks, or a part of them, without the norm behind them."""
        for place, block in [*enumerate(self.blocks, start=self.first)][part]:
            # of every block its own, or one for all of them
            options = {} if rope is None else {"rope": rope[place] if rope.ndim == 4 else rope}
            if self.grad_checkpointing and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False, **options)
            else:
                tokens = block(tokens, **options)
        return tokens

    def normalise(self, tokens: Tensor) -> Tensor:
        """Tokens `(B, N, C)` after the norms behind the blocks."""
        for name in self._norms:
            tokens = self.get_submodule(name)(tokens)
        return tokens


def is_plain(model: Any) -> bool:
    """Whether a network is a plain vision transformer that `cut_plain` can cut."""
    patches = getattr(model, "patch_embed", None)
    known = isinstance(model, VisionTransformer | Eva) and type(patches) is PatchEmbed
    return known and len(model.blocks) >= 4


def cut_plain(model: Any, stages: int = 4) -> tuple[PatchStem, list[BlockStage], dict[str, str]]:
    """A plain vision transformer as stem and stages: its blocks in groups, as equal as can be, the later ones larger.

    A norm that timm puts behind the pooling is put before it: there is no pooling here.

    Returns:
        Stem and stages, and from each module's name here to timm's.
    """
    blocks = list(enumerate(model.blocks))
    norms = OrderedDict(
        (name, getattr(model, name)) for name in ("norm", "fc_norm") if not _is_empty(getattr(model, name))
    )
    bounds = [len(blocks) * s // stages for s in range(stages + 1)]
    parts, origin = [], {"stem.model": ""}
    for s, (start, stop) in enumerate(pairwise(bounds)):
        group = OrderedDict((f"blocks_{i}", block) for i, block in blocks[start:stop])
        last = norms if s == stages - 1 else OrderedDict[str, nn.Module]()
        origin |= _origins(s, (f"blocks.{i}" for i in range(start, stop))) | _origins(s, last)
        parts.append(BlockStage(group, start, last))
    return PatchStem(model), parts, origin


def _origins(stage: int, names: Iterable[str]) -> dict[str, str]:
    return {f"stages.{stage}.{name.replace('.', '_')}": name for name in names}


def _is_empty(module: nn.Module | None) -> bool:
    return module is None or isinstance(module, nn.Identity)
