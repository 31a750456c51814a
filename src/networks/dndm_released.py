"""DNDM as the authors' code computes it, which is not what their paper says: to load and compare with their weights."""

from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.networks.backbone.chain import Chain
from src.networks.backbone.timm_backbone import Backbone
from src.networks.backbone.weights import load_renamed, read_state_dict
from src.networks.blocks.bnneck import BNNeck
from src.networks.blocks.class_awareness import partners
from src.networks.dndm_network import NIGHT

# How the authors' names begin, and ours; what their checkpoints hold beyond that, their network never uses.
NAMES = {
    "visible_module.visible.conv1.": "backbone.stem.conv1.",
    "visible_module.visible.bn1.": "backbone.stem.bn1.",
    "thermal_module.thermal.conv1.": "night_stem.conv1.",
    "thermal_module.thermal.bn1.": "night_stem.bn1.",
    **{f"base_resnet.base.layer{s}.": f"backbone.stages.{s - 1}.layer{s}." for s in (1, 2, 3, 4)},
    **{f"classifier{s}.": f"projections.{s - 1}." for s in (1, 2, 3, 4)},
    "LSM.fc.": "gate.",
    "bottleneck.": "neck.bn.",
    "classifier.": "neck.classifier.",
}
UNUSED = ("demo.", "NL_", "visible_module.", "thermal_module.", "base_resnet.base.")


class ReleasedOutput(NamedTuple):
    """Output of the network.

    Attributes:
        pooled: Features `(B, C4)` before the neck, for the triplet loss.
        embedded: Features `(B, C4)` after the neck. The authors test with either, L2-normalised.
        logits: Identity scores `(B, K)`.
        gate: The glare gate `(B, 1, h, w)`, in [0.5, 1), for `gate_loss`.
    """

    pooled: Tensor
    embedded: Tensor
    logits: Tensor
    gate: Tensor


class ReleasedDNDM(nn.Module):
    """The network of https://github.com/chenjingong/DN-ReID.

    Day and night images have stems of their own. The class maps belong to the class that scores highest on average, at
    test too, and are added in small doses; the structure is a Laplacian; pooling is generalised-mean with p = 3.

    Args:
        backbone: A ResNet cut into stages; its stem becomes the day stem, and a copy the night stem.
        num_classes: Number of identities K.
        swap_stems: At test, send night images through the day stem and day images through the night stem, as the
            authors' `test.py` does. Only to reproduce its numbers.

    Raises:
        ValueError: The backbone has no stages.
    """

    def __init__(self, backbone: Backbone, num_classes: int, swap_stems: bool = False) -> None:
        super().__init__()
        if not backbone.staged:
            raise ValueError(f"DNDM works on a backbone's stages, and {backbone.name!r} has none; choose a ResNet.")
        if not isinstance(backbone.stem, Chain):
            raise ValueError(f"The released DNDM knows networks of maps alone, not {backbone.name!r}; choose a ResNet.")
        stem, *channels = backbone.channels
        self.backbone = backbone
        self.night_stem = deepcopy(backbone.stem)
        self.gate = nn.Linear(stem + 1, 1, bias=False)
        self.projections = nn.ModuleList(nn.Linear(c, channels[-1], bias=False) for c in channels)
        for projection in self.projections:
            nn.init.normal_(projection.get_parameter("weight"), std=0.001)
        self.neck = BNNeck(channels[-1], num_classes)
        self.swap_stems = swap_stems

    def forward(
        self,
        images: Tensor,
        domain: Tensor,
        label: Tensor | None = None,
        glare: Tensor | None = None,
        nights: int | None = None,
    ) -> ReleasedOutput:
        """Embeds images.

        Args:
            images: `(B, 3, H, W)` on the 0…255 scale.
            domain: `(B,)`, 0 for day, 1 for night, negative for unknown, which counts as day.
            label: `(B,)` class indices, needed in training, in any order.
            glare: Masks `(B, 1, H, W)` of the highlights, needed by the images that pass the night stem.
            nights: How many images are of the night, if known: a GPU would have to be asked, and wait.

        Raises:
            ValueError: The labels or the masks are needed and missing.
        """
        if self.training and label is None:
            raise ValueError("The released DNDM exchanges class maps in training and needs labels; got none.")
        night = domain == NIGHT
        if self.swap_stems and not self.training:
            night, nights = ~night, None if nights is None else len(night) - nights
        if glare is None and bool(night.any()):
            raise ValueError("The night stem needs the mask `glare`; let the transforms compute it.")
        x = self._stems(self.backbone.normalise(images), night, nights)
        mask = torch.zeros_like(images[:, :1]) if glare is None else glare * night.view(-1, 1, 1, 1)
        x, gate = self._suppress(x, mask.to(x.dtype))
        exchange = partners(label, domain) if self.training and label is not None else None
        for stage, projection in zip(self.backbone.stages, self.projections, strict=True):
            x = self._aware(_enhance(stage(x)[0]), projection, exchange)
        mean = x.to(torch.promote_types(x.dtype, torch.float32)).pow(3).mean(dim=(2, 3))
        pooled = 1e-4 * (1e12 * mean + 1).pow(1 / 3)  # (mean + 1e-12)^(1/3); ONNX exporters drop so small a summand
        embedded, logits = self.neck(pooled)
        return ReleasedOutput(pooled, embedded, logits, gate)

    def load_released(self, path: str | Path) -> list[str]:
        """Loads a checkpoint of the authors' code.

        Args:
            path: The file; their own hold the weights under `net`.

        Returns:
            The names in it that the network does not use.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: Names or shapes do not match.
        """
        problem = f"{path} is no checkpoint of the released DNDM with {self.neck.classifier.out_features} identities"
        return load_renamed(self, read_state_dict(path), NAMES, UNUSED, problem)

    def _stems(self, x: Tensor, night: Tensor, nights: int | None) -> Tensor:
        if torch.compiler.is_compiling():  # an exported graph cannot depend on how many images are of the night
            return torch.where(night.view(-1, 1, 1, 1), self.night_stem(x)[0], self.backbone.stem(x)[0])
        nights = int(night.sum()) if nights is None else nights
        order = night.byte().argsort(stable=True)  # the day first
        parts = zip((self.backbone.stem, self.night_stem), x[order].split([len(x) - nights, nights]), strict=True)
        return torch.cat([stem(part)[0] for stem, part in parts if len(part)])[order.argsort()]

    def _suppress(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(2):
            mask = F.max_pool2d(mask, kernel_size=3, stride=2, padding=1)
        gate = F.conv2d(torch.cat([x, mask], dim=1), self.gate.weight[:, :, None, None]).relu().sigmoid()
        return x - 0.5 * gate * x, gate

    def _aware(self, x: Tensor, projection: nn.Module, exchange: Tensor | None) -> Tensor:
        """Adds class maps; no map but the chosen class's is computed, as everything up to it is linear."""
        rows = self.neck.classifier.weight @ projection.get_parameter("weight")  # (K, C)
        chosen = rows[F.linear(x.mean(dim=(2, 3)), rows).argmax(dim=1)]
        maps = torch.einsum("bc,bchw->bhw", chosen.to(x.dtype), x).relu().sigmoid().unsqueeze(1)
        if exchange is None:
            return x + 0.1 * maps * x
        received = (exchange.to(maps.dtype) @ maps.flatten(1)).view_as(maps)
        return x + 0.05 * received * x + 0.05 * maps * x


def _enhance(x: Tensor) -> Tensor:
    neighbours = 25 * F.avg_pool2d(x, kernel_size=5, stride=1, padding=2) - x  # a sum; ONNX knows no other divisor
    return 0.9 * x + 0.25 * F.relu(neighbours - 24 * x) / 24
