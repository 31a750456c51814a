"""Tables of a report as text: ours, and a paper's with ours beside."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from src.figures.text_table import TextTable
from src.runs.comparison import ABSENT, Comparison, Parameter, Row
from src.runs.published_tables import PublishedTable, is_of

_SHOWN = ("mAP", "R1", "R5", "mINP")
_NAMED = 5
OURS, PUBLISHED = "ours", "published"
SCRATCH = "°"


def our_table(comparison: Comparison) -> TextTable:
    """One row for each combination of parameters and each task; mean ± sample standard deviation over the seeds."""
    labels = short_names(comparison.parameters)
    rows = [
        (
            *(as_text(value) for value in row.values.values()),
            _task(row),
            *(_spread(row, measure) for measure in _SHOWN),
            ", ".join(map(str, row.seeds)),
        )
        for row in comparison.rows
    ]
    columns = (*labels.values(), "task", *_SHOWN, "seeds")
    notes = (*_along(comparison.parameters, labels), *comparison.notes, *_scratch_note(comparison.rows))
    return TextTable("Ours", columns, tuple(rows), notes, len(labels) + 1)


def _along(parameters: Sequence[Parameter], labels: Mapping[str, str]) -> Iterator[str]:
    """Settings that change together with each parameter, copies in `stages` apart."""
    for parameter in parameters:
        others = [key for key in parameter.keys[1:] if not key.startswith(("stages.", "method._target_", "data."))]
        if others and parameter.name != "features":
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            yield f"With {labels[parameter.name]} differ {', '.join(others[:_NAMED])}{more}."


def published_table(table: PublishedTable, comparison: Comparison) -> TextTable:
    """A paper's rows, each followed by ours of the same kind, then the rest; only of its tasks, if we have them."""
    tasks = {result.task for row in table.rows for result in row.results}
    ours = [row for row in comparison.rows if row.task in tasks] or list(comparison.rows)
    labels = short_names(comparison.parameters)
    rows: list[tuple[str, ...]] = []
    shown: set[int] = set()
    for printed in table.rows:
        for result in printed.results:
            numbers = (_printed(result.numbers[measure]) for measure in table.measures)
            rows.append((printed.name, PUBLISHED, result.data, result.task, *numbers, ""))
        for place, row in enumerate(ours):
            if is_of(printed, row.settings):
                shown.add(place)
                rows.append((printed.name, *_beside(row, table, _unsaid(row, comparison, printed.when), labels)))
    for place, row in enumerate(ours):
        if place not in shown:
            rows.append((ABSENT, *_beside(row, table, _unsaid(row, comparison, {}), labels)))
    columns = ("row", "from", "data", "task", *table.measures, "seeds")
    notes = (
        f"Published: {table.source}. {table.remarks}".strip(),
        "Ours may be of other data: see the column.",
        *_scratch_note(ours),
    )
    return TextTable(f"{table.title} ({table.name})", columns, tuple(rows), notes, 4)


def _unsaid(row: Row, comparison: Comparison, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a row of ours that the published row beside does not fix."""
    return {
        parameter.name: row.values[parameter.name]
        for parameter in comparison.parameters
        if parameter.name != "data" and not set(parameter.keys) & set(fixed)
    }


def _beside(row: Row, table: PublishedTable, values: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    options = ", ".join(f"{labels[name]}={as_text(value)}" for name, value in values.items() if value != ABSENT)
    yield f"{OURS}, {options}" if options else OURS
    yield str(row.settings["data"])
    yield _task(row)
    yield from (_spread(row, measure, table.digits) for measure in table.measures)
    yield ", ".join(map(str, row.seeds))


def _task(row: Row) -> str:
    return f"{row.task} {SCRATCH}" if row.from_scratch else row.task


def _scratch_note(rows: Sequence[Row]) -> Iterator[str]:
    if any(row.from_scratch for row in rows):
        yield f"{SCRATCH} The backbone started from random weights, not from pretrained ones as in the papers."


def short_names(parameters: Sequence[Parameter]) -> dict[str, str]:
    """The last part of each parameter's name, or all of it where that is not enough to tell them apart."""
    last = [parameter.name.rpartition(".")[2] for parameter in parameters]
    return {p.name: p.name if last.count(short) > 1 else short for p, short in zip(parameters, last, strict=True)}


def as_text(value: Any) -> str:
    """A setting as a user would write it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value))}]"
    return str(value)


def _spread(row: Row, measure: str, digits: int = 3) -> str:
    if measure not in row.mean:
        return ABSENT
    return f"{row.mean[measure]:.{digits}f}" + (f" ± {row.std[measure]:.{digits}f}" if row.std else "")


def _printed(number: Decimal | None) -> str:
    return ABSENT if number is None else str(number)
