"""Results of a search, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.figures.rank_lists import draw_tile
from src.figures.style import BLUE, GREY, styled, subplots

#: A picture, a line above it, lines below it.
Tile = tuple[np.ndarray, str, str]

_ROW = 10  # pictures side by side


@styled()
def draw_search(
    queries: Sequence[np.ndarray], names: Sequence[str], results: Sequence[Sequence[Tile]], out: Path
) -> None:
    """Draws each query in grey and what was found for it in blue, ten in a row, best first.

    Args:
        queries: RGB images.
        names: What to write above them.
        results: The pictures found for each.
        out: The picture's path.
    """
    lines = [
        (place if start == 0 else None, tiles[start : start + _ROW])
        for place, tiles in enumerate(results)
        for start in range(0, max(1, len(tiles)), _ROW)
    ]
    columns = 1 + max(1, *(len(tiles) for _, tiles in lines))
    figure, axes = subplots(len(lines), columns, figsize=(1.25 * columns, 1.85 * len(lines)), squeeze=False)
    for line, (place, tiles) in zip(axes, lines, strict=True):
        for tile in line:
            tile.axis("off")
        if place is not None:
            draw_tile(line[0], queries[place], GREY, names[place][-18:], "query")
        for tile, (image, above, below) in zip(line[1:], tiles, strict=False):
            draw_tile(tile, image, BLUE, above, below)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
