"""Rank lists as pictures: what the model believes to be the same car."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from src.figures.style import GREEN, GREY, VERMILION, styled, subplots


@dataclass(frozen=True)
class RankList:
    """One query and the gallery entries found for it, nearest first.

    Attributes:
        query: Row of the query in the table.
        found: Rows of the gallery entries.
        right: Whether each shows the query's vehicle.
        distances: Distance of each.
        average_precision: Over the whole gallery.
    """

    query: int
    found: np.ndarray
    right: np.ndarray
    distances: np.ndarray
    average_precision: float


@styled()
def draw_rank_lists(
    lists: Sequence[RankList], read: Callable[[int], np.ndarray], caption: Callable[[int], str], out: Path, title: str
) -> None:
    """Draws a row a query: the query in grey, right results framed in green (✓), wrong ones in vermilion (✗).

    Args:
        lists: The rank lists.
        read: The RGB image of a table row.
        caption: A line under the image of a table row (camera, domain, …).
        out: The picture's path.
        title: Task and protocol.
    """
    columns = 1 + max(len(entry.found) for entry in lists)
    figure, axes = subplots(len(lists), columns, figsize=(1.25 * columns, 1.65 * len(lists)), squeeze=False)
    for line, entry in zip(axes, lists, strict=True):
        draw_tile(line[0], read(entry.query), GREY, f"query, AP {entry.average_precision:.2f}", caption(entry.query))
        for place, tile in enumerate(line[1:]):
            if place >= len(entry.found):
                tile.axis("off")
                continue
            colour, mark = (GREEN, "✓") if entry.right[place] else (VERMILION, "✗")
            row = int(entry.found[place])
            draw_tile(tile, read(row), colour, f"{place + 1} {mark} {entry.distances[place]:.2f}", caption(row))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.savefig(out)


def draw_tile(axes: Axes, image: np.ndarray, colour: str, above: str, below: str) -> None:
    """A picture in a coloured frame, with a line above and lines below it."""
    axes.axis("on")
    axes.imshow(_square(image))
    axes.set(xticks=[], yticks=[])
    axes.set_title(above, fontsize=8, loc="center", pad=3)
    axes.set_xlabel(below, fontsize=7, labelpad=2)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=3)


def _square(image: np.ndarray) -> np.ndarray:
    """The image in the middle of a white square, so that the places of a list line up."""
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.full((side, side, 3), 255, dtype=np.uint8)
    square[top : top + height, left : left + width] = image
    return square
