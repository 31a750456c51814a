"""One random image of each vehicle: VehicleID's galleries."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def draw_one_image(table: pd.DataFrame, rows: NDArray[np.int64], trial: int, seed: int = 0) -> NDArray[np.bool_]:
    """Draws one image of each vehicle.

    The draw depends on seed, number of the trial, vehicles and paths only, not on the order of the lists.

    Args:
        table: The record table.
        rows: Rows to draw from, `(N,)`.
        trial: Number of the trial, from 0.
        seed: Seed of the draws.

    Returns:
        Whether each row is drawn, `(N,)`.
    """
    paths, vehicles = table["path"].to_numpy()[rows], table["vehicle_id"].to_numpy()[rows]
    order = np.lexsort((np.unique(paths, return_inverse=True)[1], vehicles))
    _, first, count = np.unique(vehicles[order], return_index=True, return_counts=True)
    picks = first + (np.random.default_rng([seed, trial]).random(len(first)) * count).astype(np.int64)
    drawn = np.zeros(len(rows), dtype=bool)
    drawn[order[picks]] = True
    return drawn
