"""Augmentations of the attribute-guided network, side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.figures.style import styled, subplots

Image = NDArray[np.uint8]


@styled()
def draw_augmentations(rows: Mapping[str, Mapping[str, Image]], out: Path) -> None:
    """Draws rows of images.

    Args:
        rows: Name of a row → caption → image, grey or RGB.
        out: The picture's path.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    longest = max(map(len, rows.values()))
    figure, axes = subplots(len(rows), longest, figsize=(1.9 * longest, 1.6 * len(rows)), squeeze=False)
    for tile in axes.flat:
        tile.set_axis_off()
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for place, (tile, (caption, image)) in enumerate(zip(line, images.items(), strict=False)):
            tile.imshow(image, cmap="gray", interpolation="nearest")
            tile.set_title(f"{name}: {caption}" if place == 0 else caption)
    figure.savefig(out)
