"""JPM of TransReID: tokens in an order that mixes the image, cut into parts."""

from typing import Any

import torch
from torch import Tensor, nn


def shuffled(patches: Tensor, shift: int, groups: int) -> Tensor:
    """Patches in the order of the jigsaw: shifted, then dealt out group by group.

    He et al., "TransReID", ICCV 2021, Section 3.3. The first `shift` patches move to the end; what results is split
    into equal groups, and the new order takes the first of each group, then the second of each, … Where the number of
    patches does not divide, the last but one is repeated, as in the authors' code; the paper does not say.

    Args:
        patches: `(B, N, …)`.
        shift: How many patches move to the end.
        groups: How many groups.
    """
    moved = patches.roll(-shift, dims=1)
    if missing := -moved.shape[1] % groups:
        moved = torch.cat([moved, moved[:, -2:-1].expand(-1, missing, *moved.shape[2:])], dim=1)
    return moved.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class Jigsaw(nn.Module):
    """Local features: each part of the shuffled patches, with the class token, through one shared layer.

    Args:
        layer: The layer, from tokens to tokens; its first token is the feature.
        shift: See `shuffled`.
        groups: See `shuffled`.
        parts: How many parts.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, layer: nn.Module, shift: int = 5, groups: int = 2, parts: int = 4) -> None:
        super().__init__()
        for name, value, least in (("shift", shift, 0), ("groups", groups, 1), ("parts", parts, 1)):
            if value < least:
                raise ValueError(f"{name} is {value}, expected at least {least}.")
        self.layer = layer
        self.shift, self.groups, self.parts = shift, groups, parts
        # as deep as the last block that it is a copy of; see `note_distances`
        self.distances: dict[str, Any] = {name: 1 for name, _ in self.named_parameters()}

    def forward(self, prefix: Tensor, patches: Tensor) -> list[Tensor]:
        """The features `(B, C)` of the parts.

        Args:
            prefix: Class token and registers `(B, P, C)`.
            patches: `(B, N, C)`.

        Raises:
            ValueError: If there are fewer patches than parts.
        """
        length = patches.shape[1] // self.parts  # what is left over belongs to no part
        if length == 0:
            raise ValueError(f"parts is {self.parts}, but there are only {patches.shape[1]} patches; use fewer parts.")
        mixed = shuffled(patches, self.shift, self.groups)
        pieces = [mixed[:, length * part : length * (part + 1)] for part in range(self.parts)]
        # all parts at once: the layer is the same
        tokens = torch.cat([torch.cat([prefix, piece], dim=1) for piece in pieces])
        return [*self.layer(tokens)[:, 0].unflatten(0, (self.parts, -1)).unbind(0)]
