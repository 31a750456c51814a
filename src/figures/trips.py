"""Trips of training vehicles between cameras, and the densities fitted to them."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import LogLocator

from src.figures.style import BLUE, ORANGE, styled, subplots
from src.retrieval import TripModel, camera_rows, trips

_BINS = 40


@styled()
def draw_trips(train: pd.DataFrame, camera_distances: pd.DataFrame | None, out: Path) -> None:
    """Draws histograms of the training pairs' time gaps and road distances with the fitted log-normal densities.

    Args:
        train: Training records.
        camera_distances: Road distances, index and columns the cameras' numbers.
        out: The picture's path; not written if there are too few pairs to fit.
    """
    model = TripModel.fit_records(train, camera_distances)
    if model is None:
        return
    seen = train[(train["camera_id"] >= 0).to_numpy() & train["timestamp"].notna().to_numpy()]
    gaps, distances = trips(
        seen["vehicle_id"],
        camera_rows(seen["camera_id"], camera_distances),
        seen["timestamp"],
        None if camera_distances is None else camera_distances.to_numpy(dtype=np.float64),
    )
    panels = [("time between two sightings, in the data set's unit", gaps, model.temporal)]
    if distances is not None and model.spatial is not None:
        panels.append(("road distance of the two cameras, m", distances, model.spatial))
    figure, axes = subplots(len(panels), 1, figsize=(4.2, 2.8 * len(panels)), squeeze=False)
    for panel, (label, values, fit) in zip(axes[:, 0], panels, strict=True):
        positive = values[values > 0]
        # Density of the logarithm, on a logarithmic axis: trips span from a second to a day.
        bins = np.linspace(np.log(positive.min()), np.log(positive.max()), _BINS)
        heights, _ = np.histogram(np.log(positive), bins, density=True)
        panel.stairs(heights, np.exp(bins), fill=True, color=BLUE, alpha=0.5, label=f"{len(values):,} training pairs")
        at = np.exp(np.linspace(bins[0], bins[-1], 300))
        density = fit.density(torch.from_numpy(at), "raw").numpy() * at
        panel.plot(at, density, color=ORANGE, label=f"log-normal, μ {fit.mu:.2f}, σ {fit.sigma:.2f}")
        panel.set(xscale="log", xlabel=label, yticks=[], ylabel="density", ylim=(0, 1.4 * heights.max()))
        if positive.max() < 100 * positive.min():  # too few powers of ten to name only those
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter("")
        panel.legend(frameon=False, loc="upper left")
    axes[0, 0].set_title(f"Trips of {seen['vehicle_id'].nunique():,} training vehicles")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
