"""Embeddings of some vehicles on a plane: day dots and night crosses (Fig. 5c, d of DNDM)."""

from pathlib import Path

import numpy as np
from matplotlib import patheffects
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from src.figures.style import CYCLE, styled, subplots

#: Neighbours that t-SNE looks at, if there are three times as many images.
PERPLEXITY = 30


def choose_images(
    ids: NDArray[np.int64], domains: NDArray[np.object_], vehicles: int, images: int = 30
) -> NDArray[np.int64]:
    """Places of the images of some vehicles, ascending.

    The vehicles are evenly spread over those seen by day and by night, if there are any, else over those seen twice.

    Args:
        ids: Vehicle of each image, `(N,)`.
        domains: Domain of each, empty where unknown.
        vehicles: How many at most.
        images: So many of each at most, evenly spread over its days and its nights.
    """
    places = {vehicle: np.flatnonzero(ids == vehicle) for vehicle in np.unique(ids)}
    shown = [v for v, rows in places.items() if {"day", "night"} <= set(domains[rows])]
    shown = shown or [v for v, rows in places.items() if len(rows) > 1]
    chosen = [np.empty(0, dtype=np.int64)]
    for vehicle in _spread(np.array(shown), vehicles):
        rows = places[vehicle]
        chosen.append(_spread(rows[np.argsort(domains[rows], kind="stable")], images))
    return np.sort(np.concatenate(chosen))


def _spread(values: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the values, from the first to the last."""
    return values[np.linspace(0, len(values) - 1, min(most, len(values))).astype(int)]


@styled()
def draw_embedding_map(
    features: NDArray[np.floating], ids: NDArray[np.int64], domains: NDArray[np.object_], out: Path
) -> None:
    """Draws images where t-SNE puts them (van der Maaten and Hinton, JMLR 2008), with each vehicle's number.

    Args:
        features: L2-normalised, `(N, D)`.
        ids: Vehicle of each, `(N,)`; colours repeat, far from each other, so its number stands in the middle too.
        domains: Domain of each: night is a cross, all else a dot.
        out: The picture's path.
    """
    perplexity = min(PERPLEXITY, (len(ids) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features.astype(np.float32))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = subplots(figsize=(5, 4.6))
    night = domains == "night"
    taken: dict[str, list[NDArray[np.floating]]] = {colour: [] for colour in CYCLE}
    for vehicle in np.unique(ids):
        middle = np.median(plane[ids == vehicle], axis=0)
        # The colour whose vehicles are farthest from here.
        near = {c: min((float(np.linalg.norm(middle - m)) for m in taken[c]), default=np.inf) for c in taken}
        colour = max(near, key=lambda c: near[c])
        taken[colour].append(middle)
        for marker, shown in (("o", ~night), ("x", night)):
            points = plane[shown & (ids == vehicle)]
            width = 0 if marker == "o" else 1
            axes.scatter(points[:, 0], points[:, 1], s=14, marker=marker, color=colour, linewidths=width, alpha=0.8)
        name = axes.annotate(str(vehicle), middle, ha="center", va="center", fontsize=8, weight="bold")
        name.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])
    if night.any():
        for marker, label in (("o", "day"), ("x", "night")):
            axes.scatter([], [], s=14, marker=marker, color="#222222", label=label)
        figure.legend(loc="outside upper right", ncols=2, frameon=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(True)
    figure.savefig(out)
