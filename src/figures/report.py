"""What a set of runs found, beside what the papers print: on the terminal, as CSV and as one page."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from src.comparison import MEASURES, Comparison, compare
from src.figures.published_tables import PublishedTable, read_table, tables_of_sweep
from src.figures.report_page import report_page
from src.figures.report_tables import OURS, PUBLISHED, as_text, our_table, published_table
from src.figures.sweep_curves import draw_sweep
from src.files import write_atomically
from src.runs import find_runs, read_run


def write_report(runs: Sequence[str], table: str | None, folder: Path, console: Console | None = None) -> None:
    """Prints the tables; writes `report.csv`, `report.html` and, of a sweep over numbers, `figures/curve_*.png`.

    Args:
        runs: Run folders, sweep folders or patterns.
        table: Name of a published table; by default those over the parameters that differ between the runs.
        folder: Where.
        console: Where to print.

    Raises:
        ConfigError: If there are no runs with results, or no such table.
    """
    chosen = None if table is None else read_table(table)
    found, skipped = find_runs(runs)
    measurements = [measurement for run in found for measurement in read_run(run)]
    comparison = compare(measurements)
    published = [chosen] if chosen is not None else _fitting(comparison)
    tables = [our_table(comparison), *(published_table(each, comparison) for each in published)]
    pictures = draw_sweep(comparison, published, folder / "figures")
    write_atomically(folder / "report.csv", _frame(comparison, published).to_csv(index=False))
    title = chosen.title if chosen is not None else "Runs side by side"
    write_atomically(folder / "report.html", report_page(title, tables, pictures, measurements, skipped))

    console = console or Console()
    if not console.is_terminal:
        console.width = 160  # a log file has no width to fit into
    for each in tables:
        console.print(each.for_terminal())
        for note in each.notes:
            console.print(note, style="dim", highlight=False, markup=False)
    for run in skipped:
        console.print(f"Skipped {run}: it has no metrics.json.", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{folder / 'report.html'}, report.csv", highlight=False, markup=False, soft_wrap=True)


def _fitting(comparison: Comparison) -> list[PublishedTable]:
    """The published tables over what differs between the runs."""
    varying = {key for parameter in comparison.parameters for key in parameter.keys}
    return tables_of_sweep([row.settings for row in comparison.rows], varying)


def _frame(comparison: Comparison, published: Sequence[PublishedTable]) -> pd.DataFrame:
    """All numbers, ours and published, with where each is from."""
    ours = [
        {"from": OURS, "row": "", "data": row.settings["data"]}
        | {name: as_text(value) for name, value in row.values.items()}
        | {"task": row.task}
        | {measure: row.mean[measure] for measure in MEASURES}
        | {f"{measure}_std": row.std.get(measure) for measure in MEASURES}
        | {"seeds": " ".join(map(str, row.seeds))}
        for row in comparison.rows
    ]
    printed = [
        {"from": f"{PUBLISHED}: {table.source}", "row": row.name, "data": result.data, "task": result.task}
        | result.numbers
        for table in published
        for row in table.rows
        for result in row.results
    ]
    return pd.DataFrame([*ours, *printed])
