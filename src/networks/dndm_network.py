"""The network of DNDM: a staged backbone with NGS, DSE and CCA."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from src.networks.backbone.timm_backbone import Backbone
from src.networks.blocks.bnneck import Classifier
from src.networks.blocks.class_awareness import AtTest, ClassAwareness, Exchange, Form, Pairing, partners
from src.networks.blocks.glare import GlareSuppression
from src.networks.blocks.pooling import GAP
from src.networks.blocks.structure import StructureEnhancement

NIGHT = 1


class DNDMOutput(NamedTuple):
    """Output of the network.

    Attributes:
        pooled: Features `(B, C4)`.
        logits: Identity scores `(B, K)`, or None for a network without a classifier.
    """

    pooled: Tensor
    logits: Tensor | None


class DNDMNetwork(nn.Module):
    """Day-night dual-domain modulation.

    Li et al., "Day-Night Cross-domain Vehicle Re-identification", CVPR 2024, Figure 3: after the stem NGS, after each
    stage DSE and then CCA, global average pooling, and one classifier for both domains that CCA shares.

    Args:
        backbone: A staged backbone.
        num_classes: Number of identities K; None for a network that only embeds.
        glare: Use NGS, the night-domain glare suppression.
        structure_stages: Stages (1 to 4) followed by DSE, the structure enhancement.
        awareness_stages: Stages (1 to 4) followed by CCA, the class awareness.
        alpha: Strength α of NGS.
        beta: Strength β of DSE.
        window: Side N of DSE's window.
        pairing: How CCA chooses among several samples of an identity in the other domain.
        awareness_at_test: What CCA multiplies with at test; see `ClassAwareness`.
        form: How CCA is computed.

    Raises:
        ValueError: The backbone has no stages, or a stage is named that it does not have.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | None,
        glare: bool = True,
        structure_stages: Sequence[int] = (1, 2, 3, 4),
        awareness_stages: Sequence[int] = (1, 2, 3, 4),
        alpha: float = 0.5,
        beta: float = 0.25,
        window: int = 5,
        pairing: Pairing = "mean",
        awareness_at_test: AtTest = "none",
        form: Form = "auto",
    ) -> None:
        super().__init__()
        if not backbone.staged:
            raise ValueError(f"DNDM works on a backbone's stages, and {backbone.name!r} has none; choose a ResNet.")
        for stage in {*structure_stages, *awareness_stages}:
            if not 1 <= stage <= len(backbone.stages):
                raise ValueError(f"There is no stage {stage}: stages are counted from 1 to {len(backbone.stages)}.")
        stem, *channels = backbone.channels
        self.backbone = backbone
        self.glare = GlareSuppression(stem, alpha) if glare else None
        self.structure = StructureEnhancement(beta, window)
        self.structure_stages = frozenset(structure_stages)
        self.awareness = nn.ModuleDict(
            {
                str(s): ClassAwareness(channels[s - 1], channels[-1], form, awareness_at_test)
                for s in sorted(awareness_stages)
            }
        )
        self.pool = GAP()
        self.classifier = Classifier(channels[-1], num_classes, bias=True) if num_classes else None
        self.pairing: Pairing = pairing

    def forward(
        self, images: Tensor, domain: Tensor, label: Tensor | None = None, glare: Tensor | None = None
    ) -> DNDMOutput:
        """Embeds images.

        Args:
            images: `(B, 3, H, W)` on the 0…255 scale.
            domain: `(B,)`, 0 for day, 1 for night, negative for unknown, which NGS takes for day.
            label: `(B,)` class indices, needed in training by CCA, in any order.
            glare: Masks `(B, 1, H, W)` of the highlights, needed by NGS as soon as one image is of the night.

        Raises:
            ValueError: The labels or the masks are needed and missing.
        """
        x, carried = self.backbone.begin(images)
        if self.glare is not None:
            x = self.glare(x, self._mask(images, domain, glare))
        exchange = self._exchange(domain, label) if self.training and self.awareness else None
        for number, stage in enumerate(self.backbone.stages, start=1):
            x, carried = stage(x, carried)
            if number in self.structure_stages:
                x = self.structure(x)
            if str(number) in self.awareness:
                x = self.awareness[str(number)](x, exchange, self.classifier)
        pooled = self.pool(x)
        return DNDMOutput(pooled, None if self.classifier is None else self.classifier(pooled))

    def _mask(self, images: Tensor, domain: Tensor, glare: Tensor | None) -> Tensor:
        night = (domain == NIGHT).view(-1, 1, 1, 1)
        if glare is not None:
            return glare * night
        if bool(night.any()):
            raise ValueError(
                "Glare suppression needs the mask `glare` of every night image and got none; "
                "let the transforms compute it, or set glare=false."
            )
        return torch.zeros_like(images[:, :1])

    def _exchange(self, domain: Tensor, label: Tensor | None) -> Exchange:
        if label is None or self.classifier is None:
            raise ValueError(
                "Class awareness needs labels and a classifier in training; got none. Set awareness_stages=[]."
            )
        return Exchange(
            self.classifier.weight[label], self.classifier.bias[label], partners(label, domain, self.pairing)
        )
