"""The attribute-guided network."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.losses import CenterLoss, batch_hard_triplet, cross_entropy
from src.methods.attributes import Accuracy, Names
from src.methods.base import Batch, ReIDMethod
from src.networks import AttributeGuidedNetwork, AttributeGuidedOutput, Backbone


class AttributeGuided(ReIDMethod):
    """Cross-entropy, triplet and centre loss on a re-identification feature, and branches that learn attributes.

    Zhuge et al., "Attribute-guided Feature Extraction and Augmentation Robust Learning for Vehicle Re-identification",
    CVPRW 2020. Without attributes it is one of the paper's feature extractors.

    Args:
        backbone: ResNet-50-IBN-a with last stride 1, HRNet-W18 or DenseNet-161.
        num_classes: Identities of the training set.
        names: Names of the attributes.
        attributes: Columns of the record table that get a branch: `"type"`, `"colour"`.
        dimension: Length of the features.
        attribute_dimension: Length of an attribute's feature.
        margin: Margin α of the triplet loss (Eq. 3).
        norm: Length that features are brought to for the triplet loss; None for their own.
        center_weight: Weight β of the centre loss (Eq. 4).
        center_rate: Learning rate of the centres.
        center_on: The feature of the centre loss: after the neck, as Eq. 2 says, or before it, as Section 3.1 does.
        type_weight: Weight α of the type's cross-entropy (Eq. 5).
        colour_weight: Weight β of the colour's.
        embedding: Test on the identity's feature (Fig. 2), or on it and those of the attributes side by side (text).
    """

    needs_option: ClassVar[str] = "attributes"
    test_options: ClassVar[tuple[str, ...]] = ("embedding",)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        names: Names,
        attributes: Sequence[str] = ("type", "colour"),
        dimension: int = 2048,
        attribute_dimension: int = 256,
        margin: float = 0.5,
        norm: float | None = None,
        center_weight: float = 5e-4,
        center_rate: float = 0.5,
        center_on: Literal["f_bn", "f"] = "f_bn",
        type_weight: float = 1.0,
        colour_weight: float = 1.0,
        embedding: Literal["id", "concat"] = "id",
    ) -> None:
        super().__init__()
        if center_on not in ("f_bn", "f"):
            raise ValueError(f"method.center_on is {center_on!r}, expected f_bn or f.")
        if embedding not in ("id", "concat"):
            raise ValueError(f"method.embedding is {embedding!r}, expected id or concat.")
        if unknown := sorted(set(attributes) - {"type", "colour"}):
            raise ValueError(f"method.attributes names {unknown[0]!r}, expected some of type and colour.")
        self.names: Names = {attribute: tuple(names[attribute]) for attribute in attributes}
        counts = {attribute: len(found) for attribute, found in self.names.items()}
        self.network = AttributeGuidedNetwork(backbone, num_classes, counts, dimension, attribute_dimension)
        self.classifier_centers = CenterLoss(num_classes, dimension, center_rate)
        self.margin = margin
        self.norm = norm
        self.center_weight = center_weight
        self.center_on = center_on
        self.attribute_weights = {"type": type_weight, "colour": colour_weight}
        self.embedding = embedding
        self._accuracy = Accuracy(attributes)

    @property
    def head(self) -> Sequence[nn.Module]:
        """Everything behind the pooling."""
        network = self.network
        return (network.reduce, network.neck, network.identity, network.branches)

    def embed(self, batch: Batch) -> Tensor:
        """The identity's feature, with those of the attributes behind it if told so."""
        return self._embedding(self.network(batch["image"]))

    def _embedding(self, seen: AttributeGuidedOutput) -> Tensor:
        return torch.cat([seen.f_id, *seen.features.values()], dim=1) if self.embedding == "concat" else seen.f_id

    def attribute_logits(self, batch: Batch) -> dict[str, Tensor]:
        """See `NamesAttributes`."""
        return self.network(batch["image"]).attribute_logits

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Eqs. 4 and 5; an image without an attribute's name has no part in that attribute's loss."""
        return self.losses_of(self.network(batch["image"]), batch)

    def losses_of(self, seen: AttributeGuidedOutput, batch: Batch) -> dict[str, Tensor]:
        """The loss terms of what the network makes of a training batch."""
        label = batch["label"]
        return {
            "cross_entropy": cross_entropy(seen.logits, label),
            "triplet": batch_hard_triplet(seen.f, label, self.margin, norm=self.norm),
            "center": self.center_weight * self.classifier_centers(self._centred(seen), label),
        } | {
            attribute: self.attribute_weights[attribute] * cross_entropy(logits, batch[attribute])
            for attribute, logits in seen.attribute_logits.items()
        }

    def _centred(self, seen: AttributeGuidedOutput) -> Tensor:
        return seen.f_bn if self.center_on == "f_bn" else seen.f

    def training_step(self, batch: Batch) -> Tensor:
        """Sums the loss terms and logs each, with the share of attributes named right; then the centres move.

        They move by the batches of all processes, so that all have the same ones.
        """
        seen = self.network(batch["image"])
        total = self.summed(self.losses_of(seen, batch), batch)
        self._accuracy.log(self, "train", seen.attribute_logits, batch)
        features, labels = self.all_gather((self._centred(seen).detach().float(), batch["label"]))
        self.classifier_centers.step(features.flatten(0, -2), labels.flatten())
        return total

    def validation_step(self, batch: Batch) -> Tensor:
        """Embeds a batch, and names its attributes."""
        seen = self.network(batch["image"])
        self._accuracy.log(self, "val", seen.attribute_logits, batch)
        return F.normalize(self._embedding(seen).float())
