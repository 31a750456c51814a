"""DFR-ST: discriminative appearance features, and where and when a vehicle was seen."""

from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from src.losses import Reduction, batch_hard_triplet, cross_entropy
from src.methods.base import Batch, ReIDMethod
from src.networks import Backbone, DFRSTNetwork
from src.networks.blocks.attention import Placement
from src.networks.blocks.division import Axis
from src.networks.dfr_st_network import Place
from src.runtime.ranges import Positive


class DFRST(ReIDMethod):
    """The appearance module of DFR-ST; its spatio-temporal term is the step `spatio_temporal` of `retrieval.steps`.

    Args:
        backbone: Last stride 1.
        num_classes: Identities of the training set.
        shared_stages: How many stages both streams share.
        coarse: Use the coarse stream.
        attention: Placement of the attention; None for none.
        attention_bias: Biases in the channel attention's layers; the printed formulas have none.
        attention_reduction: Channels to numbers of the channel attention's hidden layer.
        attention_kernel: Side of the spatial attention's kernel, odd.
        branches: Branches of the fine stream.
        parts: Number of parts of each branch.
        dimension: Length of each part's feature.
        embedding: Test on the features of all streams after or before their necks.
        smoothing: Label smoothing ε, spread over the wrong classes (Eq. 2).
        cross_entropy_reduction: Mean or sum over the branches and parts.
        margin: Margin m of the triplet loss (Eq. 3).
        norm: Length that features are brought to for the triplet loss; None for their own.
        lambda_value: Weight λ of the triplet loss (Eq. 1).
        triplet_reduction: Mean or sum (Eq. 3 as printed) over the anchors of a step.
        omega: Weight ω of the spatio-temporal term, which `retrieval.spatio_temporal.omega` takes from here.

    Raises:
        ValueError: If a reduction is unknown.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        shared_stages: int = 2,
        coarse: bool = True,
        attention: Placement | None = "channel_spatial",
        attention_bias: bool = True,
        attention_reduction: Positive = 16,
        attention_kernel: Positive = 7,
        branches: Sequence[Axis] = ("whole", "height", "width", "channel"),
        parts: Mapping[str, int] | None = None,
        dimension: int = 256,
        embedding: Place = "after_neck",
        smoothing: float = 0.1,
        cross_entropy_reduction: Reduction = "mean",
        margin: float = 1.2,
        norm: float | None = None,
        lambda_value: float = 0.4,
        triplet_reduction: Reduction = "mean",
        omega: float = 0.2,
    ) -> None:
        super().__init__()
        reductions = {"triplet_reduction": triplet_reduction, "cross_entropy_reduction": cross_entropy_reduction}
        for key, reduction in reductions.items():
            if reduction not in get_args(Reduction):
                raise ValueError(f"method.{key} is {reduction!r}, expected mean or sum.")
        self.network = DFRSTNetwork(
            backbone,
            num_classes,
            shared_stages,
            coarse,
            attention,
            branches,
            parts,
            dimension,
            attention_bias=attention_bias,
            attention_reduction=attention_reduction,
            attention_kernel=attention_kernel,
            embedding=embedding,
        )
        self.cross_entropy_reduction: Reduction = cross_entropy_reduction
        self.smoothing = smoothing
        self.margin = margin
        self.norm = norm
        self.lambda_value = lambda_value
        self.triplet_reduction: Reduction = triplet_reduction
        self.omega = omega

    @property
    def head(self) -> Sequence[nn.Module]:
        """Everything that no pretrained network has."""
        network = self.network
        return [part for part in (network.coarse, network.attention, network.branches) if part is not None]

    @property
    def feature_maps(self) -> dict[str, nn.Module]:
        """The last maps of the streams, the fine one's before and after its attention (Fig. 7)."""
        network = self.network
        coarse, fine = network.backbone.stages[-1], network.fine_stages
        maps = {"coarse": coarse} if network.coarse is not None else {}
        if network.branches:
            maps["fine before attention"] = coarse if fine is None else fine[-1]
        return maps if network.attention is None else maps | {"fine after attention": network.attention}

    def embed(self, batch: Batch) -> Tensor:
        """The features of all streams, after their necks or before."""
        return self.network(batch["image"]).embedding

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropies of branches and parts, mean or sum; λ times the triplet losses, on squared distances.

        A sum over anchors is that of all processes, each of which finds its anchors' hardest pairs in its own batch.
        """
        seen, label = self.network(batch["image"]), batch["label"]
        # All at once, for on a GPU the dozens of small operations of each would take longer than the layers before it.
        logits, labels = torch.cat(seen.logits), label.repeat(len(seen.logits))
        identity = cross_entropy(logits, labels, self.smoothing, "others")
        losses = {"cross_entropy": identity if self.cross_entropy_reduction == "mean" else identity * len(seen.logits)}
        if seen.metric and self.lambda_value > 0:
            # Features together as well; all have the same anchors, so their means add up to so many times that of all.
            features, reduction = torch.stack(seen.metric), self.triplet_reduction
            triplet = batch_hard_triplet(
                features, label, self.margin, squared=True, reduction=reduction, norm=self.norm
            )
            times = self._batches_a_step if reduction == "sum" else len(features)
            losses["triplet"] = self.lambda_value * times * triplet
        return losses

    @property
    def _batches_a_step(self) -> int:
        """Of how many batches the gradient of a step is the mean: those of all processes, accumulated ones too."""
        trainer = self._trainer
        return 1 if trainer is None else trainer.world_size * trainer.accumulate_grad_batches
