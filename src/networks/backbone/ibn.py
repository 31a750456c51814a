"""IBN-a: instance normalisation beside batch normalisation in the early residual blocks."""

from typing import Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn


class InstanceBatchNorm(nn.Module):
    """Half of the channels instance-normalised, the other half batch-normalised.

    Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net", ECCV 2018. The names `IN`
    and `BN` are those of the published weights.

    Args:
        norm: The batch normalisation to replace; its affine parameters and statistics are taken over.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        half = norm.num_features // 2
        self.IN = nn.InstanceNorm2d(half, eps=norm.eps, affine=True)
        self.BN = nn.BatchNorm2d(norm.num_features - half, eps=norm.eps, momentum=norm.momentum)
        state = norm.state_dict()
        self.IN.load_state_dict({name: state[name][:half] for name in ("weight", "bias")})
        self.BN.load_state_dict({name: value[half:] if value.ndim else value for name, value in state.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `(B, C, h, w)`."""
        first, second = x.split([self.IN.num_features, self.BN.num_features], dim=1)
        return torch.cat([self.IN(first.contiguous()), self.BN(second.contiguous())], dim=1)


def use_ibn_a(layers: nn.ModuleList, name: str) -> None:
    """Replaces `bn1` of every residual block in the given layers, in place.

    Args:
        layers: The first three stages of a ResNet.
        name: The backbone's name, for the error.

    Raises:
        ValueError: The stages hold no residual blocks of the ResNet family.
    """
    blocks: list[Any] = [m for m in layers.modules() if isinstance(m, BasicBlock | Bottleneck)]
    if not blocks:
        raise ValueError(f"ibn='a' belongs to ResNets, and backbone {name!r} is none; pass ibn=null.")
    for block in blocks:
        block.bn1 = InstanceBatchNorm(block.bn1)
