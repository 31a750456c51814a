"""DNDM, day-night dual-domain modulation."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from src.losses import batch_hard_triplet, cross_domain_triplet, cross_entropy, gate_loss
from src.methods.base import Batch, ReIDMethod, Step
from src.methods.dndm_steps import dndm_steps
from src.networks import Backbone, DNDMNetwork, ReleasedDNDM
from src.networks.dndm_network import NIGHT
from src.runtime.errors import ConfigError


class DNDM(ReIDMethod):
    """Glare suppression, structure enhancement and class awareness in a trunk that day and night share.

    Li et al., "Day-Night Cross-domain Vehicle Re-identification", CVPR 2024. The loss is Eq. 14: cross-entropy plus the
    cross-domain hard triplet of Eq. 2, both on the pooled feature, which is also the embedding.

    Args:
        backbone: Cut into stages.
        num_classes: Identities of the training set.
        glare: Use NGS, the night-domain glare suppression.
        alpha: Its strength α (Eq. 6).
        structure_stages: Stages (1 to 4) followed by DSE, the structure enhancement.
        beta: Its strength β (Eq. 9).
        window: Side N of its window.
        awareness_stages: Stages followed by CCA, the class awareness.
        pairing: Exchange with the mean class map of an identity's samples in the other domain, or a random one's.
        awareness_at_test: What CCA multiplies with at test, where nothing is exchanged: nothing, as the paper has it,
            the mean of the class maps in training, or the image's own map of the class that it scores highest.
        margin: Margin of the triplet loss.
        norm: Length that features are brought to for the triplet loss; None for their own.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"domain"})
    test_options: ClassVar[tuple[str, ...]] = ("awareness_at_test",)

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
        awareness_at_test: Literal["none", "mean", "own"] = "none",
        margin: float = 0.3,
        norm: float | None = None,
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
            awareness_at_test=awareness_at_test,
        )
        self.margin = margin
        self.norm = norm
        self.awareness_at_test = awareness_at_test

    def drop_classifier(self) -> None:
        """Keeps it where images are modulated with their own class maps at test."""
        if self.awareness_at_test != "own":
            super().drop_classifier()

    def completed(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Also takes weights that were written before training recorded the mean of its class maps.

        Raises:
            ConfigError: If that mean is what shall be used at test.
        """
        means = [name for name in self.state_dict() if name.endswith(".running_map") and name not in weights]
        if means and self.awareness_at_test == "mean":
            raise ConfigError(
                "method.awareness_at_test is 'mean', and the checkpoint was written before training recorded that "
                "mean; train again, or pass none or own."
            )
        return {**weights, **{name: torch.tensor(float("nan")) for name in means}}

    @property
    def head(self) -> Sequence[nn.Module]:
        """The classifier."""
        return [self.network.classifier] if self.network.classifier is not None else []

    @property
    def inputs(self) -> tuple[str, ...]:
        """The image; glare suppression also wants to know whether it is of the night, and where it glares."""
        return ("image",) if self.network.glare is None else ("image", "domain", "glare")

    @property
    def explanation(self) -> str:
        """What the modules that are there do."""
        network = self.network
        parts = [
            ("where it glares and how much of the stem's features is suppressed (NGS)", network.glare is not None),
            ("the strength of features before and after their structure is added (DSE)", network.structure_stages),
            ("the map of the class that a vehicle is taken for (CCA)", len(network.awareness)),
        ]
        return "; ".join(text for text, there in parts if there)

    def explain(self, batch: Batch) -> list[Step]:
        """The steps of the modules that are there; see `dndm_steps`."""
        return dndm_steps(self.network, batch)

    def embed(self, batch: Batch) -> Tensor:
        """The pooled feature."""
        return self.network(batch["image"], batch["domain"], glare=batch.get("glare")).pooled

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and cross-domain triplet."""
        out = self.network(batch["image"], batch["domain"], batch["label"], batch["glare"])
        return {
            "cross_entropy": cross_entropy(out.logits, batch["label"]),
            "triplet": cross_domain_triplet(out.pooled, batch["label"], batch["domain"], self.margin, self.norm),
        }


class DNDMReleased(ReIDMethod):
    """Method of the authors' released code, which differs from their paper (see docs/methods.md).

    Args:
        backbone: A ResNet.
        num_classes: Identities of the training set.
        margin: Margin of the batch-hard triplet loss, which does not look at domains here.
        embedding: Test on the feature before or after the neck; the authors report both.
        released_test_swap: At test send night images through the day stem and day images through the night stem, as the
            authors' `test.py` does. Only to reproduce its numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"domain"})
    test_options: ClassVar[tuple[str, ...]] = ("embedding", "released_test_swap")

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        margin: float = 0.3,
        embedding: Literal["before_neck", "after_neck"] = "before_neck",
        released_test_swap: bool = False,
    ) -> None:
        super().__init__()
        self.network = ReleasedDNDM(backbone, num_classes, swap_stems=released_test_swap)
        self.margin = margin
        self.embedding = embedding

    @property
    def head(self) -> Sequence[nn.Module]:
        """The neck with its classifier."""
        return [self.network.neck]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The image, whether it is of the night, and where it glares."""
        return ("image", "domain", "glare")

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Counts the images of the night while the batch is on the host."""
        return batch | {"nights": int((batch["domain"] == NIGHT).sum())}

    def drop_classifier(self) -> None:
        """Keeps it: the class maps, at test too, are those of the class that scores highest."""

    def embed(self, batch: Batch) -> Tensor:
        """The pooled feature, or the one after the neck."""
        out = self.network(batch["image"], batch["domain"], glare=batch["glare"], nights=_nights(batch))
        return out.embedded if self.embedding == "after_neck" else out.pooled

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy after the neck, batch-hard triplet before it, and the loss of the glare gate."""
        out = self.network(batch["image"], batch["domain"], batch["label"], batch["glare"], _nights(batch))
        return {
            "cross_entropy": cross_entropy(out.logits, batch["label"]),
            "triplet": batch_hard_triplet(out.pooled, batch["label"], self.margin),
            "gate": gate_loss(out.gate, batch["domain"]),
        }


def _nights(batch: Mapping[str, Any]) -> int | None:
    """Number of night images in a batch, if it came through Lightning."""
    return batch.get("nights")
