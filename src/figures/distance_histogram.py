"""Distances between images of one vehicle, and of different ones (Fig. 5a, b of DNDM)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.figures.style import BLUE, VERMILION, styled, subplots

#: Bounds of the bins: L2-normalised features are at most 2 apart.
BINS: NDArray[np.float64] = np.linspace(0, 2, 81)
#: Pairs nearer than this are copies of one image, as VeRi-776 has of every query in its gallery.
COPIES = 1e-3
#: As many images are compared with each other, at most.
MOST = 2000


@dataclass(frozen=True)
class Distances:
    """Distances of pairs of images.

    Attributes:
        same: Of pairs that show one vehicle.
        others: Of pairs that show two.
        copies: How many pairs of copies are left out.
    """

    same: NDArray[np.float64]
    others: NDArray[np.float64]
    copies: int


def draw_vehicles(ids: NDArray[np.int64], most: int = MOST, seed: int = 0) -> NDArray[np.int64]:
    """Places of all images of randomly drawn vehicles, ascending, while they are no more than `most`; all, if they fit.

    Args:
        ids: Vehicle of each image, `(N,)`.
        most: How many images at most, but two vehicles at least.
        seed: Of the draw.
    """
    vehicles, counts = np.unique(ids, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(vehicles))
    kept = max(2, int((np.cumsum(counts[order]) <= most).sum()))
    return np.flatnonzero(np.isin(ids, vehicles[order[:kept]]))


def pair_distances(
    features: NDArray[np.floating], ids: NDArray[np.int64], domains: NDArray[np.object_] | None = None
) -> Distances:
    """Euclidean distances of all pairs of images but copies.

    Args:
        features: L2-normalised, `(N, D)`.
        ids: Vehicle of each, `(N,)`.
        domains: Domain of each; if given, only pairs of two domains count.
    """
    precise = features.astype(np.float64)
    one, other = np.triu_indices(len(ids), k=1)
    if domains is not None:
        across = domains[one] != domains[other]
        one, other = one[across], other[across]
    distances = np.sqrt(np.clip(2 - 2 * (precise @ precise.T), 0, None))[one, other]
    same, apart = ids[one] == ids[other], distances >= COPIES
    return Distances(distances[same & apart], distances[~same & apart], int((~apart).sum()))


@styled()
def draw_distances(pairs: Distances, title: str, out: Path) -> None:
    """Draws both histograms, each with an area of one, and their means.

    Args:
        pairs: The distances.
        title: Of the picture.
        out: The picture's path.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = subplots(figsize=(4.2, 3.2))
    kinds = (("same vehicle", pairs.same, BLUE, "-"), ("different vehicles", pairs.others, VERMILION, "--"))
    for name, distances, colour, line in kinds:
        heights, _ = np.histogram(distances, BINS, density=True)
        axes.stairs(heights, BINS, fill=True, color=colour, alpha=0.3)
        axes.stairs(heights, BINS, color=colour, ls=line, lw=1.5, label=f"{name}, mean {distances.mean():.2f}")
        axes.vlines(distances.mean(), 0, heights.max(), color=colour, ls=line, lw=1)
    axes.set(title=title, xlabel="distance of L2-normalised embeddings", ylabel="density", xlim=(0, None))
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(out)
