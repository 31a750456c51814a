"""Findings of a check of a data set, on the terminal."""

from rich.console import Console
from rich.table import Table

from src.data.check.findings import Report, Side
from src.runtime.console import console

_SHOWN = 3


def print_report(report: Report, path: str, to: Console | None = None) -> None:
    """Prints sizes and findings; of each finding the first three items.

    Args:
        report: What was found.
        path: Where all of it was written.
        to: Where to print.
    """
    out = console(to)
    table = Table(title=report.name, title_justify="left")
    fields = ["images", "vehicles", "cameras"]
    if any(side.balance for side in report.sides):
        fields += ["day", "night"]
    for column in ("data set", "side", *fields):
        table.add_column(column, justify="left" if column in ("data set", "side") else "right")
    for side in report.sides:
        table.add_row(side.dataset, side.name, *(_number(side, field) for field in fields))
    out.print(table)
    for side in report.sides:
        if side.balance is not None:
            name = side.name if len({other.dataset for other in report.sides}) == 1 else f"{side.dataset}, {side.name}"
            out.print(f"{name}: {side.balance.sentence()}", highlight=False, markup=False, soft_wrap=True)
    for finding in report.findings:
        label, style = ("Problem", "red") if finding.problem else ("Warning", "yellow")
        out.print(f"[{style}]{label}:[/] ", end="")
        out.print(finding.sentence, highlight=False, markup=False, soft_wrap=True)
        for item in finding.items[:_SHOWN]:
            out.print(f"  {item}", highlight=False, markup=False, soft_wrap=True)
        if (more := len(finding.items) - _SHOWN) > 0:
            out.print(f"  and {more:,} more, see {path}", highlight=False, markup=False, soft_wrap=True)
    out.print("No problems." if report.ok else "There are problems.")


def _number(side: Side, field: str) -> str:
    """Number there is, and the number there should be if that is known and differs."""
    count = getattr(side.found, field) or 0
    expected = getattr(side.expected, field) if side.expected else None
    return f"{count:,}" if expected in (None, count) else f"[yellow]{count:,} of {expected:,}[/]"
