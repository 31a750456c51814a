"""TransReID: a vision transformer that knows camera and view, and looks at shuffled parts."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from src.losses import batch_hard_triplet, cross_entropy
from src.methods.base import Batch, ReIDMethod
from src.networks import Backbone, TransReIDNetwork

Side = Literal["camera", "view"]


class TransReID(ReIDMethod):
    """Side-information embeddings (SIE) and the jigsaw patch module (JPM) on a vision transformer.

    He et al., "TransReID: Transformer-based Object Re-Identification", ICCV 2021. The loss is Eq. 3: cross-entropy and
    soft triplet of the whole image, plus the mean of both over the parts. Cameras and views are those of the training
    images; any other, and one that is not known, adds nothing to the tokens.

    Args:
        backbone: A plain vision transformer with a class token.
        num_classes: Identities of the training set.
        names: Names of the training images' cameras and views, by `"camera"` and `"view"`.
        jigsaw: Use JPM.
        shift: How many patches move to the end (m).
        groups: Groups that the patches are dealt out from.
        parts: Parts, each with a feature of its own (k).
        side: What SIE knows: `"camera"`, `"view"`, both, or nothing. What the data set does not have is left out.
        side_weight: Factor λ of SIE.
        smoothing: Label smoothing ε of the cross-entropy.
        squared: Triplet loss on squared distances (Eq. 2); the released code's are not.
        norm: Length that features are brought to for the triplet loss; None for their own.
        whole_weight: Weight of the whole image's losses.
        parts_weight: Weight of the mean of the parts' losses.
        parts_scale: Factor on the parts' features in the embedding.
        embedding: Test on the features before or after the necks.
    """

    test_options: ClassVar[tuple[str, ...]] = ("embedding",)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        names: Mapping[str, Sequence[str]],
        jigsaw: bool = True,
        shift: int = 5,
        groups: int = 2,
        parts: int = 4,
        side: Sequence[Side] = ("camera", "view"),
        side_weight: float = 3.0,
        smoothing: float = 0.0,
        squared: bool = True,
        norm: float | None = None,
        whole_weight: float = 1.0,
        parts_weight: float = 1.0,
        parts_scale: float = 1.0,
        embedding: Literal["before_neck", "after_neck"] = "before_neck",
    ) -> None:
        super().__init__()
        if unknown := sorted(set(side) - {"camera", "view"}):
            raise ValueError(f"method.side names {unknown[0]!r}, expected camera, view, both or nothing.")
        counts = [len(names.get(kind, ())) for kind in side]
        self.network = TransReIDNetwork(
            backbone, num_classes, jigsaw, shift, groups, parts, side_counts=counts, side_weight=side_weight
        )
        self.side = tuple(side)
        self.smoothing = smoothing
        self.squared = squared
        self.norm = norm
        self.whole_weight = whole_weight
        self.parts_weight = parts_weight
        self.parts_scale = parts_scale
        self.embedding = embedding

    @property
    def head(self) -> Sequence[nn.Module]:
        """The necks with their classifiers."""
        return (self.network.necks,)

    @property
    def feature_maps(self) -> dict[str, nn.Module]:
        """The last map that both branches see."""
        return {"last stage but one": self.network.backbone.stages[-2]}

    @property
    def inputs(self) -> tuple[str, ...]:
        """The image, and what SIE knows more than one of: its camera, its view."""
        known = zip(self.side, self.network.side.counts, strict=True)
        return ("image", *(kind for kind, count in known if count > 1))

    def embed(self, batch: Batch) -> Tensor:
        """The features of the whole image and of all parts, one behind the other."""
        out = self.network(batch["image"], self._side_of(batch))
        whole, *parts = out.embedded if self.embedding == "after_neck" else out.features
        return torch.cat([whole, *(self.parts_scale * part for part in parts)], dim=1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropies after the necks, soft triplet losses before them."""
        out, label = self.network(batch["image"], self._side_of(batch)), batch["label"]
        entropies = [cross_entropy(logits, label, self.smoothing) for logits in out.logits]
        triplets = [batch_hard_triplet(feature, label, None, self.squared, norm=self.norm) for feature in out.features]
        losses = {"cross_entropy": self.whole_weight * entropies[0], "triplet": self.whole_weight * triplets[0]}
        if self.network.jigsaw is not None:
            losses["parts_cross_entropy"] = self.parts_weight * torch.stack(entropies[1:]).mean()
            losses["parts_triplet"] = self.parts_weight * torch.stack(triplets[1:]).mean()
        return losses

    def _side_of(self, batch: Batch) -> list[Tensor]:
        """Places of the images' cameras and views among the names, -1 where a batch does not know them."""
        unknown = torch.full_like(batch["image"][:, 0, 0, 0], -1, dtype=torch.long)
        return [batch.get(kind, unknown) for kind in self.side]
