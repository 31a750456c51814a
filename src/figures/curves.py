"""Curves: loss and accuracy against epochs, true against false acceptance."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from src.figures.style import styled, subplots


@styled()
def draw_curves(stage: Path, out: Path, untrained: dict[str, float] | None = None) -> None:
    """Draws the loss terms, each task's validation mAP and, where attributes are learnt, how many are named right.

    Args:
        stage: Folder with what Lightning's CSV logger wrote, `metrics.csv` and from before an interruption
            `metrics_1.csv`, `metrics_2.csv`, …
        out: The picture's path.
        untrained: mAP of the untrained features by task, drawn as dashed lines.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    log = pd.concat([pd.read_csv(file) for file in sorted(stage.glob("metrics*.csv"))]).sort_values("step")
    columns = [str(column) for column in log]
    shares = [c for c in columns if c.endswith("_accuracy")]
    losses = [c for c in columns if c.startswith("train/") and c not in ("train/loss", "train/total", *shares)]
    scores = [c for c in columns if c.startswith("val/") and c.endswith("/mAP") and c != "val/mAP"]
    panels = 3 if shares else 2
    figure, (upper, lower, *more) = subplots(panels, 1, figsize=(4.2, 2.8 * panels), sharex=True)
    for column in losses:
        values = log.dropna(subset=[column])
        upper.plot(values["epoch"] + 1, values[column], label=column.removeprefix("train/").replace("_", " "))
    for column in scores:
        values = log.dropna(subset=[column])
        task = column.removeprefix("val/").removesuffix("/mAP")
        (line,) = lower.plot(values["epoch"] + 1, values[column], marker="o", ms=3, label=task.replace("_", " "))
        if untrained and task in untrained:
            lower.axhline(untrained[task], color=line.get_color(), ls="--", lw=1)
    for column in shares:
        values = log.dropna(subset=[column])
        label = column.removesuffix("_accuracy").replace("/", " ")
        more[0].plot(values["epoch"] + 1, values[column], marker="o", ms=3, label=label)
        more[0].set(title="Attributes named right", ylim=(0, 1))
    upper.set(title="Training loss", ylim=(0, None))
    upper.xaxis.set_major_locator(MaxNLocator(integer=True))
    lower.set(title="Validation mAP" + (" (dashed: untrained features)" if untrained else ""))
    figure.axes[-1].set_xlabel("epoch")
    for axes in figure.axes:
        if axes.lines:
            axes.legend(frameon=False)
    figure.savefig(out)


@styled()
def draw_roc(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], out: Path) -> None:
    """Draws true against false acceptance rates.

    Args:
        curves: False and true positive rates of each task.
        out: The picture's path.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = subplots(figsize=(4.5, 3.2))
    for name, (false, true) in curves.items():
        axes.plot(false, true, label=name.replace("_", " "))
    axes.set(title="Same vehicle or not", xlabel="false acceptance rate", ylabel="true acceptance rate")
    axes.set(xscale="log", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(out)
