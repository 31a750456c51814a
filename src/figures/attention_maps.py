"""Strength of a method's features, drawn over the images."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import default_collate

from src.data import ReIDDataset
from src.figures.style import styled, subplots
from src.methods.base import ReIDMethod


def write_attention(out: Path, method: ReIDMethod, dataset: ReIDDataset, rows: NDArray[np.int64], count: int) -> None:
    """Draws a sheet of heat maps, as Fig. 7 of DFR-ST has them: a row an image, as the method sees it, a column a map.

    Args:
        out: The picture's path.
        method: With its weights.
        dataset: Images as the method is tested on them.
        rows: Those to choose from.
        count: How many images, evenly spread over the rows.
    """
    chosen = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    batch = default_collate([dataset[int(row)] for row in chosen])
    method.eval()
    maps = method.attention({name: values.to(method.device) for name, values in batch.items()})
    draw_attention(batch["image"].permute(0, 2, 3, 1).numpy(), {name: heat.cpu() for name, heat in maps.items()}, out)


@styled()
def draw_attention(images: np.ndarray, maps: dict[str, Tensor], out: Path) -> None:
    """Draws images and heat maps over them; each map goes from its own smallest to its own largest value.

    Args:
        images: RGB `(N, H, W, 3)` uint8.
        maps: `(N, h, w)` by name.
        out: The picture's path.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    height, width = images.shape[1:3]
    size = (1.6 * (1 + len(maps)), 1.6 * len(images) * height / width + 0.3)
    figure, axes = subplots(len(images), 1 + len(maps), figsize=size, squeeze=False)
    for line, image in zip(axes, images, strict=True):
        line[0].imshow(image)
    for column, (name, heat) in enumerate(maps.items(), start=1):
        axes[0, column].set_title(name, fontsize=8)
        for line, image, overlay in zip(axes, images, stretched(heat, height, width), strict=True):
            line[column].imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
            line[column].imshow(overlay, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
    for tile in axes.flat:
        tile.axis("off")
    figure.savefig(out)


def stretched(heat: Tensor, height: int, width: int) -> np.ndarray:
    """Maps `(N, h, w)` at the size of the images, each with values from 0 to 1; a constant map is all 0."""
    large = F.interpolate(heat[:, None].float(), (height, width), mode="bilinear", align_corners=False)[:, 0]
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    return torch.nan_to_num((large - low) / (high - low)).numpy()
