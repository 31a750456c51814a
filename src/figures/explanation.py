"""A method's modules at work on images of day and night."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import default_collate

from src.data import ReIDDataset, known
from src.figures.style import GREY, styled
from src.methods.base import ReIDMethod, Step

#: Inches: a tile's width, between tiles, between groups of them, a line of text, the titles of columns, around all.
_TILE, _NEAR, _APART = 1.3, 0.06, 0.22
_LINE, _TITLES = 0.15, 0.55
_LEFT, _FOOT, _MARGIN = 0.75, 0.42, 0.1
_COLOURS = "inferno"
_NONE = torch.zeros(())


def write_explanation(
    out: Path, method: ReIDMethod, dataset: ReIDDataset, table: pd.DataFrame, rows: NDArray[np.int64], count: int
) -> None:
    """Draws what a method's modules do to images: a row an image, a column a step.

    Args:
        out: The picture's path.
        method: With its weights; it can `explain`.
        dataset: Images as the method is tested on them.
        table: Their records.
        rows: Those to choose from.
        count: How many images; see `day_and_night`.
    """
    chosen = day_and_night(
        table.loc[rows], count, lambda row: int(cast(Tensor, dataset[row].get("glare", _NONE)).sum())
    )
    batch = default_collate([dataset[row] for row in chosen])
    method.eval()
    steps = method.explain({name: values.to(method.device) for name, values in batch.items()})
    names = [f"{record.domain}\nvehicle {record.vehicle_id}" for record in table.loc[chosen].itertuples()]
    images = batch["image"].permute(0, 2, 3, 1).numpy()
    draw_steps(images, names, [step._replace(maps=step.maps.cpu()) for step in steps], out)


def day_and_night(table: pd.DataFrame, count: int, glare: Callable[[int], int]) -> list[int]:
    """Rows to show: of vehicles that are evenly spread, one by day and one by night; else images evenly spread.

    By night a vehicle's image that glares most is taken, by day the one in the middle of the list.

    Args:
        table: Records to choose from.
        count: How many rows.
        glare: How much a row's image glares.
    """
    of_known = table[known(table, "vehicle_id")]
    by_domain = {
        domain: {
            vehicle: [*group.index] for vehicle, group in of_known[of_known["domain"] == domain].groupby("vehicle_id")
        }
        for domain in ("day", "night")
    }
    both = [vehicle for vehicle in by_domain["day"] if vehicle in by_domain["night"]]
    if not both:
        return [int(row) for row in table.index[_spread(len(table), count)]]
    chosen: list[int] = []
    for vehicle in (both[place] for place in _spread(len(both), -(-count // 2))):
        day, night = by_domain["day"][vehicle], by_domain["night"][vehicle]
        chosen += [int(day[len(day) // 2]), int(max(night, key=glare))]
    return chosen[:count]


def _spread(length: int, count: int) -> NDArray[np.int64]:
    return np.linspace(0, length - 1, min(count, length)).astype(int)


@styled()
def draw_steps(images: np.ndarray, names: Sequence[str], steps: Sequence[Step], out: Path) -> None:
    """Draws images and, beside each, the maps of the steps, with a scale of colours under every column.

    Args:
        images: RGB `(N, H, W, 3)` uint8.
        names: Of the images, in two lines; images whose second lines are the same stand close together.
        steps: Columns; those of one module stand close together, under its heading.
        out: The picture's path.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    height, width = images.shape[1:3]
    tall = _TILE * height / width
    lefts = _starts(["", *(step.module for step in steps)], _TILE, _LEFT)
    headings = [*_headings(steps, lefts[1:])]
    head = _LINE * max((len(heading + text) for _, _, heading, text in headings), default=0) + _TITLES
    tops = _starts([name.partition("\n")[2] for name in names], tall, head)
    size = np.array([lefts[-1] + _TILE + _MARGIN, tops[-1] + tall + _FOOT])
    figure = Figure(figsize=(float(size[0]), float(size[1])))
    figure.set_layout_engine("none")

    def place(left: float, top: float, wide: float, high: float) -> tuple[float, float, float, float]:
        return (left / size[0], 1 - (top + high) / size[1], wide / size[0], high / size[1])

    tiles = np.array([[figure.add_axes(place(left, top, _TILE, tall)) for left in lefts] for top in tops])
    for tile in tiles.flat:
        tile.axis("off")
    tiles[0, 0].set_title("image", fontsize=8, loc="center")
    for (tile, *_), image, name, top in zip(tiles, images, names, tops, strict=True):
        tile.imshow(image)
        figure.text((_LEFT - 0.08) / size[0], 1 - (top + tall / 2) / size[1], name, fontsize=8, ha="right", va="center")
    for step, left, column in zip(steps, lefts[1:], tiles.T[1:], strict=True):
        limits = _limits(step, steps)
        norm = Normalize(*limits)
        column[0].set_title(f"{step.title}\n{step.formula}", fontsize=8, loc="center")
        for tile, overlay in zip(column, _enlarged(step.maps, height, width), strict=True):
            tile.imshow(overlay, cmap=_COLOURS, norm=norm)
        scale = figure.add_axes(place(left, tops[-1] + tall + 0.08, _TILE, 0.07))
        bar = figure.colorbar(ScalarMappable(norm, _COLOURS), cax=scale, orientation="horizontal")
        bar.set_ticks(limits, labels=[f"{limit:.2g}" for limit in limits], fontsize=7)
        low, high = scale.get_xticklabels()
        low.set_horizontalalignment("left")
        high.set_horizontalalignment("right")
    for left, right, heading, text in headings:
        for number, line in enumerate(heading + text):
            look: Any = {"fontsize": 9, "weight": "bold"} if number < len(heading) else {"fontsize": 7.5, "color": GREY}
            figure.text(left / size[0], 1 - (_MARGIN + _LINE * number) / size[1], line, va="top", **look)
        rule = [1 - (head - 0.4) / size[1]] * 2
        figure.add_artist(Line2D([left / size[0], right / size[0]], rule, color=GREY, linewidth=0.8))
    figure.savefig(out)


def _headings(steps: Sequence[Step], lefts: Sequence[float]) -> Iterator[tuple[float, float, list[str], list[str]]]:
    """Left and right end of each module's columns in inches, and the lines of its name and of what it does."""
    for module, group in groupby(zip(steps, lefts, strict=True), key=lambda pair: pair[0].module):
        starts = [left for _, left in group]
        left, right = starts[0], starts[-1] + _TILE
        name, _, text = module.partition("\n")
        yield left, right, wrap(name, int(13.5 * (right - left))), wrap(text, int(17 * (right - left)))


def _starts(groups: Sequence[str], side: float, first: float) -> list[float]:
    """Starts of tiles in inches, further apart where the group changes."""
    places = [first]
    for before, after in pairwise(groups):
        places.append(places[-1] + side + (_NEAR if before == after else _APART))
    return places


def _limits(step: Step, steps: Sequence[Step]) -> tuple[float, float]:
    """Least and most of the steps that share a scale of colours."""
    if not step.scale:
        return 0.0, 1.0
    shared = [other.maps for other in steps if other.scale == step.scale]
    return min(float(maps.min()) for maps in shared), max(float(maps.max()) for maps in shared)


def _enlarged(maps: Tensor, height: int, width: int) -> np.ndarray:
    return F.interpolate(maps[:, None].float(), (height, width), mode="bilinear", align_corners=False)[:, 0].numpy()
