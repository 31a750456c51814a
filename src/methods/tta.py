"""Several looks at each image at test time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

Batch = dict[str, Tensor]
_LAYERS = ("image", "mask", "glare")  # what of a batch has height and width


@dataclass(frozen=True)
class Views:
    """The views of a batch whose embeddings are averaged: each scale, and each of them mirrored too.

    Attributes:
        flip: Add the mirror image of each.
        scales: Sizes relative to that of the batch.
    """

    flip: bool = False
    scales: Sequence[float] = (1.0,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"retrieval.scales is {list(self.scales)}, expected one or more positive numbers.")

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """The views one after the other."""
        for scale in self.scales:
            view = batch if scale == 1 else _scaled(batch, scale)
            yield view
            if self.flip:
                yield view | {name: view[name].flip(-1) for name in _LAYERS if name in view}


def _scaled(batch: Batch, scale: float) -> Batch:
    size = [round(side * scale) for side in batch["image"].shape[-2:]]
    image = F.interpolate(batch["image"].float(), size, mode="bilinear", antialias=True, align_corners=False)
    # A thin highlight must not fall between two samples of the smaller mask.
    layers = {name: F.adaptive_max_pool2d(batch[name].float(), size) for name in _LAYERS[1:] if name in batch}
    return batch | {"image": image} | {name: layer.to(batch[name].dtype) for name, layer in layers.items()}
