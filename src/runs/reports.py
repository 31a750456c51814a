"""Reports: numbers of runs beside those that papers print, on the terminal, as CSV and as one page."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from src.runs.comparison import MEASURES, Comparison, compare
from src.runs.comparison_page import comparison_sections
from src.runs.finished import find_runs, read_run
from src.runs.html_page import Section, html_page
from src.runs.published_tables import PublishedTable, read_table, tables_of_sweep
from src.runs.report_tables import OURS, PUBLISHED, as_text, our_table, published_table
from src.runs.run_report import run_sections
from src.runs.sweep_curves import draw_sweep
from src.runtime.console import console
from src.runtime.errors import ConfigError
from src.runtime.whole_files import write_atomically


def write_report(
    runs: Sequence[str],
    table: str | None,
    folder: Path,
    to: Console | None = None,
    run: str | None = None,
    vehicles: int = 20,
    attention: int = 6,
) -> None:
    """Writes `report.html` about one run, several side by side, or one with others beside; prints tables and the path.

    Of several also `report.csv`. Pictures that are drawn for it are in `figures/`.

    Args:
        runs: Run folders, sweep folders or patterns, to show side by side.
        table: Name of a published table; by default those over the parameters that differ between the runs.
        folder: Where.
        to: Where to print.
        run: Folder of the run to show in pictures.
        vehicles: How many on the run's map of embeddings.
        attention: Images of the run to draw heat maps over.

    Raises:
        ConfigError: If there is neither run nor runs, a table without runs, no results in them, or no such table.
    """
    if not runs and (run is None or table is not None):
        raise ConfigError(
            "Which runs? Pass run=<run folder> for pictures, runs=[<run or sweep folder>, …] to compare, or both; "
            "table needs runs."
        )
    out = console(to, width=160)
    title, sections = "", []
    if run is not None:
        title = f"Run {'/'.join(Path(run).resolve().parts[-2:])}"
        sections += run_sections(Path(run), folder / "figures", vehicles, attention, out)
    if runs:
        compared, beside = _compared(runs, table, folder, out)
        title, sections = title or compared, [*sections, *beside]
    write_atomically(folder / "report.html", html_page(title, sections))
    written = f"{folder / 'report.html'}{', report.csv' if runs else ''}"
    out.print(written, highlight=False, markup=False, soft_wrap=True)


def _compared(runs: Sequence[str], table: str | None, folder: Path, out: Console) -> tuple[str, list[Section]]:
    """Title and sections of several runs, whose tables are printed; see `write_report`."""
    chosen = None if table is None else read_table(table)
    folders, skipped = find_runs(runs)
    measurements = [measurement for run in folders for measurement in read_run(run)]
    comparison = compare(measurements)
    published = [chosen] if chosen is not None else _fitting(comparison)
    tables = [our_table(comparison), *(published_table(each, comparison) for each in published)]
    pictures = draw_sweep(comparison, published, folder / "figures")
    write_atomically(folder / "report.csv", _frame(comparison, published).to_csv(index=False))
    for each in tables:
        out.print(each.for_terminal())
        for note in each.notes:
            out.print(note, style="dim", highlight=False, markup=False)
    for run in skipped:
        out.print(f"Skipped {run}: it has no metrics.json.", highlight=False, markup=False, soft_wrap=True)
    title = chosen.title if chosen is not None else "Runs side by side"
    return title, comparison_sections(tables, pictures, measurements, skipped)


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
