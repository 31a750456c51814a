"""SIE of TransReID: what is known of an image beside its pixels, learnt as embeddings."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SideInformation(nn.Module):
    """One embedding for each camera, view, or pair of both: `λ S[r N_V + q]`.

    He et al., "TransReID: Transformer-based Object Re-Identification", ICCV 2021, Section 3.4: camera r and view q
    share one embedding, for they depend on each other, and it is added to every token.

    Args:
        counts: How many values each kind of information has; those with fewer than two say nothing and are left out.
        dim: Length C of the tokens.
        weight: Factor λ.
    """

    def __init__(self, counts: Sequence[int], dim: int, weight: float = 3.0) -> None:
        super().__init__()
        self.counts = tuple(counts)
        self.weight = weight
        rows = 1
        for count in self.counts:
            rows *= max(count, 1)
        self.table = nn.Parameter(torch.empty(rows, dim)) if rows > 1 else None
        if self.table is not None:
            nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, values: Sequence[Tensor]) -> Tensor | None:
        """Embedding that is added to all tokens of an image, `(B, C)`.

        Args:
            values: Of each kind the places `(B,)` of the images' values; negative where unknown. An image of which any
                kind is unknown gets zeros.

        Returns:
            None if there is nothing to know.
        """
        if self.table is None:
            return None
        place = torch.zeros_like(values[0])
        known = torch.ones_like(values[0], dtype=torch.bool)
        for count, value in zip(self.counts, values, strict=True):
            if count > 1:
                place = place * count + value.clamp(min=0)
                known = known & (value >= 0)
        return self.weight * self.table[place] * known[:, None]
