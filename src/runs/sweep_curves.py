"""Curves of a sweep: mAP and R1 against the parameter, with the paper's curve where there is one."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.figures.style import GREY, styled, subplots
from src.runs.comparison import ABSENT, Comparison, Parameter, Row
from src.runs.published_tables import PublishedTable
from src.runs.report_tables import as_text, short_names


def draw_sweep(comparison: Comparison, tables: Sequence[PublishedTable], folder: Path) -> list[Path]:
    """Draws `curve_<task>_<measure>.png` for each task if a number varies; the numeric parameter of most values is x.

    The other parameters tell curves apart. Runs with several seeds have a band of ± one standard deviation.

    Args:
        comparison: The runs.
        tables: Published tables; those over the same parameter are drawn dashed, in pictures of the same task.
        folder: Where.

    Returns:
        The pictures.
    """
    numeric = [parameter for parameter in comparison.parameters if parameter.numeric]
    if not numeric:
        return []
    x = max(numeric, key=lambda parameter: len(parameter.values))
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for task in dict.fromkeys(row.task for row in comparison.rows):
        rows = [row for row in comparison.rows if row.task == task and row.values[x.name] != ABSENT]
        for measure in ("mAP", "R1"):
            pictures.append(folder / f"curve_{task}_{measure}.png")
            title = f"{task.replace('_', ' ')}, {measure}"
            _draw(
                _curves(rows, x, comparison.parameters),
                _printed(tables, x, task, measure),
                title,
                measure,
                x,
                pictures[-1],
            )
    return pictures


def _curves(rows: Sequence[Row], x: Parameter, parameters: Sequence[Parameter]) -> dict[str, list[Row]]:
    """The rows by what else tells them apart."""
    labels = short_names(parameters)
    others = [p.name for p in parameters if p is not x and len({as_text(row.values[p.name]) for row in rows}) > 1]
    curves: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        label = ", ".join(f"{labels[name]} {as_text(row.values[name])}" for name in others)
        curves[label or f"ours, {row.settings['data']}"].append(row)
    return curves


def _printed(
    tables: Sequence[PublishedTable], x: Parameter, task: str, measure: str
) -> dict[str, list[tuple[Any, float]]]:
    """The published points of a task, by label."""
    curves: dict[str, list[tuple[Any, float]]] = defaultdict(list)
    for table in tables:
        if len(table.swept) == 1 and table.swept[0] in x.keys:
            for row in (row for row in table.rows if row.when):
                for result in row.results:
                    number = result.numbers.get(measure)
                    if result.task == task and number is not None:
                        curves[f"published, {result.data}"].append((row.when[table.swept[0]], float(number)))
    return curves


@styled()
def _draw(
    curves: dict[str, list[Row]],
    printed: dict[str, list[tuple[Any, float]]],
    title: str,
    measure: str,
    x: Parameter,
    out: Path,
) -> None:
    figure, axes = subplots(figsize=(4.2, 3.2))
    for label, rows in curves.items():
        places, means = [row.values[x.name] for row in rows], [row.mean[measure] for row in rows]
        (line,) = axes.plot(places, means, marker="o", ms=3, label=label)
        stds = [row.std.get(measure, 0.0) for row in rows]
        if any(stds):
            low, high = ([m + side * s for m, s in zip(means, stds, strict=True)] for side in (-1, 1))
            axes.fill_between(places, low, high, color=line.get_color(), alpha=0.2, lw=0)
    for label, points in printed.items():
        axes.plot(*zip(*points, strict=True), color=GREY, ls="--", marker="o", ms=3, label=label)
    axes.set(title=title, xlabel=x.name)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(out, dpi=200)
