"""The network of TransReID: a vision transformer with side information and a jigsaw branch."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple, cast

from torch import Tensor, nn

from src.networks.backbone.plain_transformer import BlockStage, Carried, PatchStem, to_tokens
from src.networks.backbone.timm_backbone import Backbone
from src.networks.blocks.bnneck import BNNeck
from src.networks.blocks.jigsaw import Jigsaw
from src.networks.blocks.side_information import SideInformation


class TransReIDOutput(NamedTuple):
    """Output of the network; of each the whole image's comes first, then those of the parts.

    Attributes:
        features: Before the necks, `(B, C)`.
        embedded: After them, `(B, C)`.
        logits: Identity scores `(B, K)`.
    """

    features: list[Tensor]
    embedded: list[Tensor]
    logits: list[Tensor]


class TransReIDNetwork(nn.Module):
    """Side information joins all tokens; behind the last block but one the way parts in two.

    He et al., "TransReID: Transformer-based Object Re-Identification", ICCV 2021, Figure 4: the global branch is the
    last block over all tokens, the jigsaw branch another such block, which starts from the same weights, over each part
    of the shuffled patches. Every branch and part has a BNNeck and a classifier of its own.

    Args:
        backbone: A plain vision transformer with a class token.
        num_classes: Number of identities K.
        jigsaw: Use the jigsaw branch.
        shift: See `Jigsaw`.
        groups: See `Jigsaw`.
        parts: See `Jigsaw`.
        side_counts: Number of cameras, of views, or of both; see `SideInformation`.
        side_weight: Factor λ of the side information.

    Raises:
        ValueError: The backbone is no such transformer.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        jigsaw: bool = True,
        shift: int = 5,
        groups: int = 2,
        parts: int = 4,
        side_counts: Sequence[int] = (),
        side_weight: float = 3.0,
    ) -> None:
        super().__init__()
        if not backbone.has_class_token:
            raise ValueError(
                f"TransReID works on a vision transformer with a class token, and {backbone.name!r} is none; choose "
                "backbone=vit_base."
            )
        if jigsaw and getattr(cast(PatchStem, backbone.stem).model, "rope", None) is not None:
            raise ValueError(
                f"The jigsaw moves patches, and {backbone.name!r} turns them by their places in every block; pass "
                "method.jigsaw=false."
            )
        dim = backbone.channels[-1]
        self.backbone = backbone
        self.side = SideInformation(side_counts, dim, side_weight)
        last = cast(BlockStage, backbone.stages[-1])
        self.jigsaw = Jigsaw(nn.Sequential(*deepcopy(last.last_layer)), shift, groups, parts) if jigsaw else None
        self.necks = nn.ModuleList(BNNeck(dim, num_classes) for _ in range(1 + (parts if jigsaw else 0)))

    def forward(self, images: Tensor, side: Sequence[Tensor] = ()) -> TransReIDOutput:
        """Embeds images.

        Args:
            images: `(B, 3, H, W)` on the 0…255 scale.
            side: See `SideInformation`.
        """
        x, begun = self.backbone.begin(images)
        carried = cast(Carried, begun)
        prefix = cast(Tensor, carried.prefix)
        if (extra := self.side(side)) is not None:
            x, prefix = x + extra[:, :, None, None], prefix + extra[:, None]
        carried = carried._replace(prefix=prefix)
        *earlier, last = self.backbone.stages
        for stage in earlier:
            x, carried = stage(x, carried)
        stage = cast(BlockStage, last)
        tokens = stage.run(to_tokens(x, carried), carried.rope, slice(-1))
        features = [stage.normalise(stage.run(tokens, carried.rope, slice(-1, None)))[:, 0]]
        if self.jigsaw is not None:
            count = prefix.shape[1]
            features += self.jigsaw(tokens[:, :count], tokens[:, count:])
        pairs = [neck(feature) for neck, feature in zip(self.necks, features, strict=True)]
        return TransReIDOutput(features, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
