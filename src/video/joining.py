"""Tracklets of one camera that show one vehicle, by appearance: a pole or a lorry in front breaks tracks."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from src.retrieval.track_features import average_track_features


def join_tracklets(table: pd.DataFrame, features: NDArray[np.float32], *, gap: float, score: float) -> dict[int, int]:
    """Which tracks go on which others.

    A track goes on another of its camera that ended at most `gap` seconds before it began, if their mean features are
    alike; each goes on at most one and is gone on by at most one, the most alike first.

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
        pairs += [
            (float(alike), int(earlier), later) for earlier, alike in zip(near, likeness, strict=True) if alike >= score
        ]
    before: dict[int, int] = {}
    followed: set[int] = set()
    for _, earlier, later in sorted(pairs, reverse=True):
        if later not in before and earlier not in followed:
            before[later] = earlier
            followed.add(earlier)
    joined = {}
    for track in range(len(numbers)):
        start = track
        while start in before:
            start = before[start]
        joined[int(numbers[track])] = int(numbers[start])
    return joined
