"""The table of checkpoints trained on A and tested on B, on the terminal, as CSV and as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig
from rich.console import Console

from src.config.checks import one_or_more
from src.figures.text_table import TextTable
from src.runs.comparison import describe
from src.runs.html_page import Section, html_page
from src.runs.transfer import Cell, DataToTest, Model, find_models, find_test_set, images_per_second, measure_cells
from src.runtime.console import console
from src.runtime.errors import ConfigError
from src.runtime.whole_files import write_atomically

Cells = Mapping[tuple[Path, str], Cell]


def write_transfer(cfg: DictConfig, to: Console | None = None) -> TextTable:
    """Measures what was not measured yet, prints the table, and writes `transfer.csv` and `report.html`.

    Args:
        cfg: The configuration of `src.report`, with `checkpoints` and `test_on`.
        to: Where to print.

    Raises:
        ConfigError: If one of the two is missing, or something else is asked for beside them.
    """
    checkpoints, sets = one_or_more(cfg.checkpoints), one_or_more(cfg.test_on)
    if not checkpoints or not sets or cfg.run is not None or cfg.runs or cfg.table is not None:
        raise ConfigError(
            "A table of checkpoints by data sets needs checkpoints=[…] and test_on=[<data set>, …], without run, runs "
            "and table."
        )
    out, folder = console(to, width=200), Path(cfg.paths.run_dir)
    models = find_models(checkpoints)
    tested = [find_test_set(text) for text in sets]
    cells = measure_cells(models, tested, Path(cfg.cells))
    speeds = images_per_second(models, cfg.device)
    table = transfer_table(models, tested, cells, speeds)
    write_atomically(folder / "transfer.csv", _frame(models, tested, cells, speeds).to_csv(index=False))
    title = "Trained on A, tested on B"
    write_atomically(folder / "report.html", html_page(title, [Section(title, tables=[table])]))
    out.print(table.for_terminal())
    for note in table.notes:
        out.print(note, style="dim", highlight=False, markup=False)
    out.print(f"{folder / 'report.html'}, transfer.csv", highlight=False, markup=False, soft_wrap=True)
    return table


def transfer_table(
    models: Sequence[Model], sets: Sequence[DataToTest], cells: Cells, speeds: Mapping[Path, float]
) -> TextTable:
    """A row a checkpoint, a column a task of a data set: mAP / R1; empty cells have their reason below.

    Args:
        models: The checkpoints.
        sets: The data sets.
        cells: What was measured.
        speeds: Images a second, of those that were measured.
    """
    columns = _columns(sets, cells)
    alone = {test.name: test.reason for test in sets}
    reasons: dict[str, int] = {}
    rows = []
    for model in models:
        found = [cells[model.path, test.name] for test in sets]
        dimensions = next((c.metrics.models[0].dimensions for c in found if c.metrics is not None), None)
        row = [model.trained_on or "–", _name(model.path), _number(model.megabytes, 1), str(dimensions or "–")]
        row.append(_number(speeds.get(model.path), 1))
        for test, task in columns:
            cell = cells[model.path, test]
            if cell.metrics is not None and task in cell.metrics.tasks:
                numbers = cell.metrics.tasks[task]
                row.append(f"{numbers.mAP:.3f} / {numbers.of('R1'):.3f}")
            else:
                reason = _reason(model, alone.get(test, ""), test, cell)
                row.append(f"– [{reasons.setdefault(reason, len(reasons) + 1)}]")
        rows.append(tuple(row))
    short = [test.name.split()[0] for test in sets]
    headings = [
        f"{test.split()[0] if short.count(test.split()[0]) == 1 else test} {task}".strip() for test, task in columns
    ]
    notes = [
        "mAP / R1. Images a second: pictures in memory, resizing included, in turns in one process.",
        *_protocols(sets, cells),
        *(f"[{number}] {reason}" for reason, number in reasons.items()),
    ]
    fixed = ("trained on", "checkpoint", "MB", "dimensions", "images/s")
    return TextTable("Trained on A, tested on B", (*fixed, *headings), tuple(rows), tuple(notes), 2)


def _reason(model: Model, of_data: str, test: str, cell: Cell) -> str:
    """Why a cell is empty: the checkpoint's fault, the data set's, or that the two do not fit."""
    if model.reason:
        return f"{_name(model.path)}: {model.reason}"
    if of_data:
        return f"{test}: {of_data}"
    return f"{_name(model.path)} on {test}: {cell.reason or 'not measured'}"


def _columns(sets: Sequence[DataToTest], cells: Cells) -> list[tuple[str, str]]:
    """Data set and task of each column; a data set that nothing was measured on has one without a task."""
    columns: dict[tuple[str, str], None] = {}
    for test in sets:
        measured = [cell.metrics for (_, name), cell in cells.items() if name == test.name and cell.metrics is not None]
        tasks = [task for metrics in measured for task in metrics.tasks] or [""]
        columns |= dict.fromkeys((test.name, task) for task in tasks)
    return list(columns)


def _protocols(sets: Sequence[DataToTest], cells: Cells) -> list[str]:
    """The rules behind each column, and what the data set was."""
    said: dict[str, None] = {}
    for test in sets:
        for (_, name), cell in cells.items():
            if name != test.name or cell.metrics is None:
                continue
            for task, record in cell.metrics.tasks.items():
                sizes = f"{record.queries:,} queries, {record.gallery:,} in the gallery"
                data = cell.metrics.data
                said[f"{test.name}, {task}: {describe(record.protocol)}; {sizes}; data {data.fingerprint}."] = None
    return list(said)


def _frame(
    models: Sequence[Model], sets: Sequence[DataToTest], cells: Cells, speeds: Mapping[Path, float]
) -> pd.DataFrame:
    """A line a checkpoint, data set and task."""
    lines = []
    for model in models:
        about: dict[str, Any] = {"checkpoint": str(model.path), "sha": model.sha, "trained_on": model.trained_on}
        about |= {"megabytes": model.megabytes, "images_per_second": speeds.get(model.path)}
        for test in sets:
            cell = cells[model.path, test.name]
            if cell.metrics is None:
                lines.append(about | {"data": test.name, "reason": cell.reason})
                continue
            for task, record in cell.metrics.tasks.items():
                numbers = {"task": task, "mAP": record.mAP, "R1": record.of("R1")}
                lines.append(
                    about
                    | {"data": test.name, "fingerprint": cell.metrics.data.fingerprint}
                    | {"dimensions": cell.metrics.models[0].dimensions, "protocol": describe(record.protocol)}
                    | numbers
                )
    return pd.DataFrame(lines)


def _name(path: Path) -> str:
    """A checkpoint as short as tells it apart: the run's folders, for one in a run."""
    parts = path.parts
    return "/".join(parts[-5:-3]) if "stages" in parts[-3:] else "/".join(parts[-2:])


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
