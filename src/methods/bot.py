"""BoT, the strong baseline with a batch-normalisation neck."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from src.losses import batch_hard_triplet, cross_entropy
from src.methods.base import Batch, ReIDMethod
from src.networks import Backbone, BNNeck, Pooling, make_pooling
from src.networks.blocks.bnneck import Classifier


class BoT(ReIDMethod):
    """Bag of Tricks: pooled features for the triplet loss, features after the BNNeck for the classifier.

    Luo et al., "A Strong Baseline and Batch Normalization Neck for Deep Person Re-identification", TMM 2019.

    Args:
        backbone: Last stride 1 in the paper.
        num_classes: Identities of the training set.
        pooling: Global average (the paper), generalised mean, or a transformer's class token.
        smoothing: Label smoothing ε of the cross-entropy.
        smoothing_kind: `"uniform"` spreads ε over all classes (BoT), `"others"` over the wrong ones.
        margin: Triplet margin; None for the plain soft margin.
        squared: Triplet loss on squared distances.
        soft: Softened hinge of the triplet loss, margin included.
        norm: Length that features are brought to for the triplet loss; None for their own.
        embedding: Test on the feature after or before the neck.
        neck: False leaves the neck out: a classifier with bias on the pooled feature, which is the embedding.
        metric_weight: Weight of the triplet loss or of what takes its place; 0 leaves it out.
        metric_loss: Takes the place of the triplet loss: called with pooled features `(B, D)` and labels `(B,)`, gives
            a number. Any loss of this form will do, with parameters of its own or without.
    """

    test_options: ClassVar[tuple[str, ...]] = ("embedding",)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        pooling: Pooling = "gap",
        smoothing: float = 0.1,
        smoothing_kind: Literal["uniform", "others"] = "uniform",
        margin: float | None = 0.3,
        squared: bool = False,
        soft: bool = False,
        norm: float | None = None,
        embedding: Literal["after_neck", "before_neck"] = "after_neck",
        neck: bool = True,
        metric_weight: float = 1.0,
        metric_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = make_pooling(pooling, backbone)
        dim = backbone.channels[-1]
        self.neck = BNNeck(dim, num_classes) if neck else None
        self.classifier = nn.Identity() if neck else Classifier(dim, num_classes, bias=True)
        self.smoothing = smoothing
        self.smoothing_kind = smoothing_kind
        self.margin = margin
        self.squared = squared
        self.soft = soft
        self.norm = norm
        self.embedding = embedding
        self.metric_weight = metric_weight
        self.metric_loss = metric_loss

    @property
    def head(self) -> Sequence[nn.Module]:
        """The neck with its classifier, or the classifier alone."""
        return (self.neck or self.classifier,)

    def embed(self, batch: Batch) -> Tensor:
        """The pooled feature, after the neck unless told otherwise."""
        pooled = self.pool(*self.backbone.features(batch["image"]))
        return pooled if self.neck is None or self.embedding == "before_neck" else self.neck.bn(pooled)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy after the neck, batch-hard triplet or another metric loss before it."""
        pooled = self.pool(*self.backbone.features(batch["image"]))
        logits = self.classifier(pooled) if self.neck is None else self.neck(pooled)[1]
        label, weight = batch["label"], self.metric_weight
        losses = {"cross_entropy": cross_entropy(logits, label, self.smoothing, self.smoothing_kind)}
        if weight == 0:
            return losses
        if self.metric_loss is not None:
            return losses | {"metric": weight * self.metric_loss(pooled, label)}
        triplet = batch_hard_triplet(pooled, label, self.margin, self.squared, self.soft, norm=self.norm)
        return losses | {"triplet": weight * triplet}
