"""One look for every picture: colour-blind safe (Okabe and Ito), thin axes, no screen needed."""

from cycler import cycler
from matplotlib import pyplot as plt

plt.switch_backend("Agg")

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7F7F7F"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7", "#56B4E9")

plt.rcParams.update(
    {
        "axes.prop_cycle": cycler(color=CYCLE),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "font.size": 9,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 120,
    }
)

__all__ = ["BLUE", "CYCLE", "GREEN", "GREY", "ORANGE", "VERMILION", "plt"]
