"""Tracklets of one camera that show one vehicle, by appearance: a pole or a lorry in front breaks tracks."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from src.retrieval.track_features import average_track_features


def join_tracklets(table: pd.DataFrame, features: NDArray[np.float32], *, gap: float, score: float) -> dict[int, int]:
    """Pairs of tracks of which one goes on the other.

    A track goes on another of its camera that ended at most `gap` seconds before it began, if their mean features are
    alike; each goes on at most one and is gone on by at most one, so that the likenesses have the largest sum.

    Args:
        table: Crops with the columns track_id, camera_id and timestamp.
        features: L2-normalised, `(N, D)`.
        gap: Seconds.
        score: Least cosine similarity.

    Returns:
        Number of each track → that of the first track of its vehicle.
    """
    numbers, places = np.unique(table["track_id"].to_numpy(dtype=np.int64), return_inverse=True)
    means = average_track_features(torch.from_numpy(features), places).numpy()
    grouped = table.groupby("track_id")
    camera = grouped["camera_id"].first().to_numpy()
    first, last = grouped["timestamp"].min().to_numpy(), grouped["timestamp"].max().to_numpy()
    pairs = []
    for later in range(len(numbers)):
        pause = first[later] - last
        near = np.flatnonzero((camera == camera[later]) & (pause > 0) & (pause <= gap))
        likeness = means[near] @ means[later]
        for place, alike in zip(near.tolist(), likeness.tolist(), strict=True):
            if alike >= score:
                pairs.append((alike - score + 1e-6, place, later))
    before = _matched(pairs, len(numbers))
    joined = {}
    for track in range(len(numbers)):
        start = track
        while start in before:
            start = before[start]
        joined[int(numbers[track])] = int(numbers[start])
    return joined


def _matched(pairs: list[tuple[float, int, int]], count: int) -> dict[int, int]:
    """Later track → earlier track, of pairs (weight, earlier, later), each used once on either side."""
    if not pairs:
        return {}
    weights, earlier, later = (np.array(column) for column in zip(*pairs, strict=True))
    graph = coo_array((weights, (earlier, later + count)), shape=(2 * count, 2 * count))
    group = connected_components(graph, directed=False)[1][earlier]
    matched = {}
    for own in np.split(np.argsort(group, kind="stable"), np.flatnonzero(np.diff(np.sort(group))) + 1):
        rows, row = np.unique(earlier[own], return_inverse=True)
        columns, column = np.unique(later[own], return_inverse=True)
        gains = np.zeros((len(rows), len(columns)))
        gains[row, column] = weights[own]
        for one, other in zip(*linear_sum_assignment(gains, maximize=True), strict=True):
            if gains[one, other] > 0:
                matched[int(columns[other])] = int(rows[one])
    return matched
