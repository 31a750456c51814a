"""Curves of accuracy on damaged images, and examples of these."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from src.figures.style import CYCLE, GREY, styled, subplots

_DASHES = ("--", ":", "-.")


@styled()
def draw_contamination(measured: pd.DataFrame, published: pd.DataFrame, out: Path) -> None:
    """Draws every score over the share of damaged pixels, as Fig. 8 of DFR-ST does: a row a task, a column a score.

    Args:
        measured: Columns name, share, task and the scores from 0 to 1; a curve a name.
        published: The same columns; drawn in grey in the row of its task.
        out: The picture's path.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    tasks = list(measured["task"].unique())
    scores = [column for column in measured if column not in ("name", "share", "task")]
    size = (3 * len(scores), 2.6 * len(tasks) + 0.6)
    figure, axes = subplots(len(tasks), len(scores), figsize=size, squeeze=False, sharex=True, sharey=True)
    for line, task in zip(axes, tasks, strict=True):
        curves, printed = measured[measured["task"] == task], published[published["task"] == task]
        for tile, score in zip(line, scores, strict=True):
            for colour, (name, curve) in zip(CYCLE, curves.groupby("name", sort=False), strict=False):
                tile.plot(100 * curve["share"], curve[score], marker="o", ms=3, color=colour, label=name)
            for dashes, (name, curve) in zip(_DASHES, printed.groupby("name", sort=False), strict=False):
                tile.plot(100 * curve["share"], curve[score], color=GREY, ls=dashes, label=name)
            tile.set(title=f"{task.replace('_', ' ')}: {score}", ylim=(0, 1))
            tile.grid(alpha=0.3)
    for tile in axes[-1]:
        tile.set_xlabel("damaged pixels (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(out)


@styled()
def draw_examples(images: Mapping[str, Sequence[np.ndarray]], shares: Sequence[float], out: Path) -> None:
    """Draws one image damaged in several ways.

    Args:
        images: RGB images of each kind, one for each share.
        shares: The shares of damaged pixels.
        out: The picture's path.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    size = (1.1 * len(shares), 1.15 * len(images) + 0.3)
    figure, axes = subplots(len(images), len(shares), figsize=size, squeeze=False)
    for line, (kind, damaged) in zip(axes, images.items(), strict=True):
        line[0].set_ylabel(kind.replace("_", " "))
        for tile, image in zip(line, damaged, strict=True):
            tile.imshow(image)
            tile.set(xticks=[], yticks=[])
            tile.spines[:].set_visible(False)
    for tile, share in zip(axes[0], shares, strict=True):
        tile.set_title(f"{share:.0%}")
    figure.savefig(out)
