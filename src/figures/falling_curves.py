"""The curves that make a distance of a trip's density, as Fig. 9 of DFR-ST shows them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from src.figures.style import CYCLE, GREY, styled, subplots
from src.retrieval import Falling

_SLOPES, _SHIFTS = (0.5, 1, 2, 3, 4, 5, 6), tuple(tenth / 10 for tenth in range(11))


def falling_curves(options: Mapping[Any, Any]) -> dict[str, Falling]:
    """The curves of D_s and D_t that the options of the step `spatio_temporal` ask for."""
    halves = {"D_s": "spatial", "D_t": "temporal"}
    return {name: Falling(options[f"{half}_slope"], options[f"{half}_shift"]) for name, half in halves.items()}


@styled()
def draw_falling_curves(own: Mapping[str, Falling], out: Path) -> None:
    """Draws D over the density x for the slopes (shift 0.5) and the shifts (slope 6) of the paper's figure.

    Args:
        own: Curves to stand out, by name.
        out: The picture's path.
    """
    figure, (slopes, shifts) = subplots(1, 2, figsize=(6.6, 2.9), sharey=True)
    for slope in _SLOPES:
        _draw(slopes, Falling(slope, 0.5), "" if slope in (4, 5) else f"{slope:g}", 0.0)
    for shift in _SHIFTS:
        _draw(shifts, Falling(6, shift), f"{shift:g}" if shift in (0, 0.5, 1) else "", shift)
    at = torch.linspace(0, 1, 101)
    for tile in (slopes, shifts):
        for number, (name, curve) in enumerate(own.items()):
            label = f"${name}$: slope {curve.slope:g}, shift {curve.shift:g}"
            line = {"ls": ("-", (0, (4, 3)))[number % 2], "color": CYCLE[number], "lw": 2}
            tile.plot(at.numpy(), curve(at.clone()).numpy(), label=label, **line)
        tile.set(xlabel="density x, of its maximum", xlim=(0, 1), ylim=(0, 1))
    slopes.set(title="(a) slope, at shift 0.5", ylabel="D = 1 / (1 + exp(slope (x − shift)))")
    shifts.set_title("(b) shift, at slope 6")
    if own:
        figure.legend(*slopes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def _draw(tile: Axes, curve: Falling, label: str, at: float) -> None:
    """One grey curve of a family, with its value where x is `at`."""
    x = torch.linspace(0, 1, 101)
    tile.plot(x.numpy(), curve(x.clone()).numpy(), color=GREY, lw=0.8)
    if label:
        place = (at, float(curve(torch.tensor([at]))))
        side, offset = ("right", (-2, -3)) if at == 1 else ("left", (3, 2))
        tile.annotate(label, place, xytext=offset, textcoords="offset points", color=GREY, fontsize=7, ha=side)
