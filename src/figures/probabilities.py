"""Reliability diagrams of probabilities, and how sure the nearest images are with and without the vehicle there."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.figures.style import BLUE, GREY, VERMILION, styled, subplots
from src.retrieval.probabilities.probability_errors import Reliability

_BINS = np.linspace(0, 1, 21)


@styled()
def draw_probabilities(
    nearest: Mapping[str, Reliability],
    pairs: Mapping[str, Reliability],
    present: NDArray[np.float64],
    absent: NDArray[np.float64],
    out: Path,
) -> None:
    """Draws three panels: reliability of each query's ten nearest and of all pairs, a line a task; and refusal.

    Args:
        nearest: By task.
        pairs: By task, at even odds.
        present: Probabilities of the nearest images of queries whose vehicle is in the gallery, of all tasks.
        absent: Of those whose vehicle was taken out.
        out: The picture's path.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    figure, (left, middle, refused) = subplots(1, 3, figsize=(11, 3.5))
    for axes, bins in ((left, nearest), (middle, pairs)):
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
        for task, one in bins.items():
            axes.plot(one.said, one.right, lw=1, alpha=0.5, label=task.replace("_", " "))
            axes.scatter(one.said, one.right, s=8 + 120 * one.weight, alpha=0.7, lw=0)
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share of these pairs that are right")
    left.set(title="Ten nearest of each query")
    middle.set(title="All pairs, weighted to even odds")
    left.legend(frameon=False, loc="upper left")
    for values, name, colour, line in ((present, "in", BLUE, "-"), (absent, "not in", VERMILION, "--")):
        heights = np.histogram(values, _BINS)[0] / max(1, len(values))
        refused.stairs(heights, _BINS, fill=True, color=colour, alpha=0.3)
        refused.stairs(heights, _BINS, color=colour, ls=line, lw=1.5, label=f"vehicle {name} the gallery")
    refused.axvline(0.5, color=GREY, lw=1, ls=":")
    refused.set(title="Nearest image, half of the vehicles gone", ylabel="share of queries", xlim=(0, 1))
    refused.set_ylim(0, 1.25 * refused.get_ylim()[1])  # room for the legend
    refused.legend(frameon=False, loc="upper center")
    for axes in (left, middle, refused):
        axes.set_xlabel("probability of one vehicle")
    figure.savefig(out)
