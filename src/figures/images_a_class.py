"""Images a class of each source of the training data (Fig. 2a of VehicleNet)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from src.figures.style import styled, subplots

_DASHES = ("-", "--", ":", "-.")


@styled()
def draw_images_a_class(counts: Mapping[str, Sequence[int]], out: Path) -> None:
    """Draws how many classes have at least so many training images, a line for each source.

    Args:
        counts: Source → number of images of each class, 1 or more.
        out: The picture's path.
    """
    figure, axes = subplots(figsize=(6.4, 3.8))
    for number, (source, sizes) in enumerate(counts.items()):
        ascending = np.sort(np.asarray(sizes))
        steps = np.unique(ascending)
        classes = len(ascending) - np.searchsorted(ascending, steps)
        label = f"{source}: {len(ascending):,} classes, median {np.median(ascending):g} images"
        # From one image on, and in the end down to below one class, for zero has no place on this axis.
        x, y = np.array([1, *steps, steps[-1]]), np.array([len(ascending), *classes, 0.5])
        axes.step(x, y, where="pre", label=label, linestyle=_DASHES[number % len(_DASHES)])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("training images of a class")
    axes.set_ylabel("classes with at least so many")
    figure.legend(loc="outside lower center", frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
