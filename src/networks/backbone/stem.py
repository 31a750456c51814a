"""The stems of ResNets in other people's code and papers, which differ without a trace in the weights."""

from typing import Literal, get_args

from torch import nn

Stem = Literal["torchvision", "fastreid", "bot", "dndm"]


def use_stem(stem: nn.Module, kind: Stem, name: str) -> None:
    """Gives a ResNet the stem that its weights were trained with, in place.

    Args:
        stem: timm's, with `conv1`, `bn1`, `act1` and `maxpool`.
        kind: `"torchvision"`, which timm's is: ReLU, then the maximum of 3 × 3 with a border of one.
            `"fastreid"`: the border is on the right and below only, where it is needed. `"bot"`: no ReLU, and the
            maximum of 2 × 2, as in the plain ResNets of reid-strong-baseline and those that go back to it. `"dndm"`:
            ReLU, then the maximum of 2 × 2, as DNDM's Eq. 3 prints it.
        name: The backbone's name, for the error.

    Raises:
        ValueError: If there is no such kind, or the backbone has no such stem.
    """
    if kind not in get_args(Stem):
        raise ValueError(f"stem is {kind!r}, expected null or one of {', '.join(get_args(Stem))}.")
    if not isinstance(getattr(stem, "maxpool", None), nn.MaxPool2d):
        raise ValueError(f"stem={kind!r} belongs to ResNets, and backbone {name!r} is none; pass stem=null.")
    if kind == "fastreid":
        stem.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
    elif kind in ("bot", "dndm"):
        stem.maxpool = nn.MaxPool2d(kernel_size=2)
        if kind == "bot":
            stem.act1 = nn.Identity()
