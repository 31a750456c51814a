"""One look for every picture: colour-blind safe (Okabe and Ito), thin axes, no screen needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cycler import cycler
from matplotlib import rc_context
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7F7F7F"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7", "#56B4E9")

_LOOK: Any = {
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 9,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 120,
}


@contextmanager
def styled() -> Iterator[None]:
    """Gives what is drawn the look, as `@styled()` all that a function draws; a program's own settings stay."""
    with rc_context(_LOOK):
        yield


def subplots(rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A picture with axes, as pyplot makes them; outside pyplot, which would want to show it and keep it.

    Args:
        rows: Of the axes.
        columns: Of the axes.
        figsize: Width and height in inches.
        options: See `matplotlib.figure.Figure.subplots`.
    """
    figure = Figure(figsize=figsize)
    return figure, figure.subplots(rows, columns, **options)
