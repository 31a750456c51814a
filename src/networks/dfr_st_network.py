"""The appearance network of DFR-ST: a coarse stream, and a fine one with attention and division."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from src.networks.backbone.plain_transformer import Carried
from src.networks.backbone.timm_backbone import Backbone
from src.networks.blocks.attention import AttentionNet, Placement
from src.networks.blocks.division import Axis, Branch, Embedding, at_once, embed_at_once, part_averages
from src.networks.blocks.pooling import GAP

#: Where a part's embedding is taken: after its BNNeck or before it.
Place = Literal["after_neck", "before_neck"]


class DFRSTOutput(NamedTuple):
    """Output of the network.

    Attributes:
        embedding: Features of all streams, side by side, `(B, D)`.
        metric: Features `(B, d)` that the triplet loss compares: the coarse one and that of the whole fine map.
        logits: Identity scores `(B, K)` of every branch and part.
    """

    embedding: Tensor
    metric: list[Tensor]
    logits: list[Tensor]


class DFRSTNetwork(nn.Module):
    """Appearance module of DFR-ST, Section III-B.

    Tu et al., "DFR-ST: Discriminative feature representation with spatio-temporal cues for vehicle re-identification",
    Pattern Recognition 2022.

    The first stages are shared; the rest exists twice, once for each stream.

    Args:
        backbone: A staged backbone.
        num_classes: Number of identities K.
        shared_stages: How many of the backbone's stages both streams share.
        coarse: Use the coarse stream.
        attention: Placement of the fine stream's attention; None for none.
        branches: Branches of the fine stream; none of them leaves the stream out.
        parts: Number of parts of each branch but `"whole"`.
        dimension: Length of each part's feature.
        attention_bias: Biases in the attention.
        attention_reduction: Channels to numbers of the channel attention's hidden layer.
        attention_kernel: Side of the spatial attention's kernel.
        embedding: Whether features after or before their necks are the embedding.

    Raises:
        ValueError: If the backbone has no stages, an option is unknown, or nothing is left to embed.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        shared_stages: int = 2,
        coarse: bool = True,
        attention: Placement | None = "channel_spatial",
        branches: Sequence[Axis] = ("whole", "height", "width", "channel"),
        parts: Mapping[str, int] | None = None,
        dimension: int = 256,
        attention_bias: bool = True,
        attention_reduction: int = 16,
        attention_kernel: int = 7,
        embedding: Place = "after_neck",
    ) -> None:
        super().__init__()
        if embedding not in get_args(Place):
            raise ValueError(f"embedding is {embedding!r}, expected {' or '.join(get_args(Place))}.")
        if not backbone.staged:
            raise ValueError(f"DFR-ST works on a backbone's stages, and {backbone.name!r} has none; choose a ResNet.")
        if not 0 <= shared_stages < len(backbone.stages):
            raise ValueError(f"shared_stages is {shared_stages}, expected 0 to {len(backbone.stages) - 1}.")
        if not coarse and not branches:
            raise ValueError("coarse is false and branches is empty: nothing is left to embed an image with.")
        if unknown := sorted(set(branches) - {"whole", "height", "width", "channel"}):
            raise ValueError(f"branches names {unknown[0]!r}, expected some of whole, height, width, channel.")
        counts = {"height": 4, "width": 4, "channel": 4} | dict(parts or {})
        channels = backbone.channels[-1]
        self.backbone = backbone
        self.shared_stages = shared_stages
        # The backbone's own last stages are the coarse stream; the fine one starts from a copy of their weights.
        self.pool = GAP()
        self.coarse = Embedding(channels, dimension, num_classes) if coarse else None
        self.fine_stages = deepcopy(backbone.stages[shared_stages:]) if branches and coarse else None
        self.embedding: Place = embedding
        self.attention = None
        if attention is not None and branches:
            self.attention = AttentionNet(channels, attention, attention_bias, attention_reduction, attention_kernel)
        self.branches = nn.ModuleList(
            Branch(axis, 1 if axis == "whole" else counts[axis], channels, dimension, num_classes) for axis in branches
        )

    def maps(self, images: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The last maps of the coarse and of the fine stream, after attention; None for one that is left out."""
        coarse, fine = self._streams(images)
        return coarse, fine if fine is None or self.attention is None else self.attention(fine)

    def _streams(self, images: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The same before attention."""
        backbone = self.backbone
        x, carried = backbone.begin(images)
        for stage in backbone.stages[: self.shared_stages]:
            x, carried = stage(x, carried)
        own = backbone.stages[self.shared_stages :]
        coarse = _through(own, x, carried) if self.coarse is not None else None
        if not self.branches:
            return coarse, None
        return coarse, _through(own if self.fine_stages is None else self.fine_stages, x, carried)

    def forward(self, images: Tensor) -> DFRSTOutput:
        """Embeds images `(B, 3, H, W)` on the 0…255 scale."""
        coarse, fine = self._streams(images)
        embeddings: list[Embedding] = []
        averages: list[Tensor] = []
        metric: list[int] = []
        if self.coarse is not None:
            embeddings.append(self.coarse)
            averages.append(self.pool(coarse))
            metric.append(0)
        if fine is not None:
            branches = [cast(Branch, branch) for branch in self.branches]
            for branch in branches:
                if branch.axis == "whole":
                    metric.append(len(embeddings))
                embeddings += branch.parts
            averages += self._averages(branches, fine)
        if at_once(embeddings):
            found = embed_at_once(embeddings, averages)
        else:
            found = [embed(average) for embed, average in zip(embeddings, averages, strict=True)]
        features, normalised, logits = zip(*found, strict=True)
        embedded = normalised if self.embedding == "after_neck" else features
        return DFRSTOutput(torch.cat(embedded, dim=1), [features[place] for place in metric], list(logits))

    def _averages(self, branches: Sequence[Branch], fine: Tensor) -> list[Tensor]:
        """Averages of the parts of the fine stream's last map, before attention."""
        if self.training and torch.is_grad_enabled():
            return part_averages(branches, *((fine, None) if self.attention is None else self.attention.apart(fine)))
        weighted = fine if self.attention is None else self.attention(fine)  # called, so that its map can be looked at
        return [average for branch in branches for average in branch.averages(weighted)]


def _through(stages: nn.ModuleList, x: Tensor, carried: Carried | None) -> Tensor:
    for stage in stages:
        x, carried = stage(x, carried)
    return x
