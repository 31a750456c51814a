"""Non-local blocks: every position sees every other."""

from collections.abc import Sequence
from typing import Any

from timm.models.resnet import Bottleneck
from torch import Tensor, nn


class NonLocal(nn.Module):
    """`x + W(1/n Σⱼ θ(xᵢ) φ(xⱼ) g(xⱼ))` over the n positions j, the identity until it is trained.

    Wang et al., "Non-local Neural Networks", CVPR 2018, Eq. 4 (dot product) and 6, with a single inner channel as in
    AGW (Ye et al., TPAMI 2022) and fast-reid, whose names these are.

    Args:
        channels: Channels C of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Conv2d(channels, 1, kernel_size=1)
        self.theta = nn.Conv2d(channels, 1, kernel_size=1)
        self.phi = nn.Conv2d(channels, 1, kernel_size=1)
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.W = nn.Sequential(nn.Conv2d(1, channels, kernel_size=1), norm)

    def forward(self, x: Tensor) -> Tensor:
        """A map `(B, C, h, w)` of the same shape."""
        # with one inner channel the sum is a number an image: no matrix of all pairs is needed
        total = (self.phi(x) * self.g(x)).mean(dim=(2, 3), keepdim=True)
        return self.W(self.theta(x) * total) + x


def use_non_local(stages: nn.ModuleList, counts: Sequence[int], name: str) -> None:
    """Puts non-local blocks behind the last residual blocks of each stage, in place.

    Args:
        stages: The four stages of a ResNet with bottlenecks.
        counts: How many in each stage; fast-reid has 0, 2, 3, 0 in a ResNet-50 and 0, 2, 9, 0 in a ResNet-101.
        name: The backbone's name, for the error.

    Raises:
        ValueError: If a stage has fewer blocks.
    """
    blocks: list[list[Any]] = [[m for m in stage.modules() if isinstance(m, Bottleneck)] for stage in stages]
    if len(counts) != len(blocks) or any(n < 0 or n > len(b) for n, b in zip(counts, blocks, strict=False)):
        raise ValueError(
            f"non_local is {[*counts]}, expected at most as many for each stage as backbone {name!r} has bottlenecks, "
            f"{[len(b) for b in blocks]}."
        )
    for count, stage in zip(counts, blocks, strict=True):
        for block in stage[len(stage) - count :]:
            block.act3 = nn.Sequential(block.act3, NonLocal(block.conv3.out_channels))
