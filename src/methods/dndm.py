"""DNDM, day-night dual-domain modulation."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from src.losses import cross_domain_triplet, cross_entropy
from src.methods.base import Batch, ReIDMethod
from src.networks import Backbone, DNDMNetwork


class DNDM(ReIDMethod):
    """Glare suppression, structure enhancement and class awareness in a shared day-night trunk.

    Li et al., "Day-Night Cross-domain Vehicle Re-identification", CVPR 2024. The loss is Eq. 14: cross-entropy plus the
    cross-domain hard triplet of Eq. 2, both on the pooled feature.

    Args:
        backbone: Cut into four stages.
        num_classes: Identities of the training set.
        glare: Use NGS, the night-domain glare suppression.
        alpha: Its strength α (Eq. 6).
        structure_stages: Stages (1 to 4) followed by DSE, the structure enhancement.
        beta: Its strength β (Eq. 9).
        window: Side N of its window.
        awareness_stages: Stages followed by CCA, the class awareness.
        pairing: Exchange with the mean class map of an identity's samples in the other domain, or a random one's.
        margin: Margin of the triplet loss.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"domain"})

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        glare: bool = True,
        alpha: float = 0.5,
        structure_stages: Sequence[int] = (1, 2, 3, 4),
        beta: float = 0.25,
        window: int = 5,
        awareness_stages: Sequence[int] = (1, 2, 3, 4),
        pairing: Literal["mean", "random"] = "mean",
        margin: float = 0.3,
    ) -> None:
        super().__init__()
        self.network = DNDMNetwork(
            backbone,
            num_classes,
            glare=glare,
            alpha=alpha,
            structure_stages=structure_stages,
            beta=beta,
            window=window,
            awareness_stages=awareness_stages,
            pairing=pairing,
        )
        self.margin = margin

    @property
    def head(self) -> Sequence[nn.Module]:
        """The classifier."""
        return (self.network.classifier,)

    def embed(self, batch: Batch) -> Tensor:
        """The pooled feature."""
        return self.network(batch["image"], batch["domain"], glare=batch["glare"]).pooled

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and cross-domain triplet."""
        out = self.network(batch["image"], batch["domain"], label=batch["label"], glare=batch["glare"])
        return {
            "cross_entropy": cross_entropy(out.logits, batch["label"]),
            "triplet": cross_domain_triplet(out.pooled, batch["label"], batch["domain"], self.margin),
        }
