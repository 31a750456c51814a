"""A report as one page that opens without a network: tables, pictures, and how it was measured."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from src.comparison import describe
from src.figures.report_tables import OURS, PUBLISHED, TextTable
from src.runs import Measurement

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #888; }
.number { text-align: right; }
.published { color: #595959; font-style: italic; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
img { width: min(100%, 30rem); height: auto; }
.note { color: #595959; margin: .25rem 0; }
code { overflow-wrap: anywhere; }
"""


def report_page(
    title: str,
    tables: Sequence[TextTable],
    pictures: Sequence[Path],
    measurements: Sequence[Measurement],
    skipped: Sequence[Path],
) -> str:
    """The page.

    Args:
        title: Of the page.
        tables: In their order; the first is ours.
        pictures: Curves, shown after the first table.
        measurements: All that the tables hold, for how it was measured.
        skipped: Runs without results.

    Returns:
        HTML.
    """
    first, *others = map(_table, tables)
    parts = [first, _pictures(pictures), *others, _measured(measurements), _runs(measurements, skipped)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _table(table: TextTable) -> str:
    kinds = ["" if place < table.text_columns else ' class="number"' for place in range(len(table.columns))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(table.columns, kinds, strict=True))
    lines = []
    for row in table.rows:
        cells = "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        lines.append(f'<tr class="{PUBLISHED if PUBLISHED in row else OURS}">{cells}</tr>')
    notes = "".join(f'\n<p class="note">{escape(note)}</p>' for note in table.notes)
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + f"\n</tbody>\n</table></div>{notes}"
    )


def _pictures(pictures: Sequence[Path]) -> str:
    if not pictures:
        return ""
    images = (
        f'<img alt="{escape(picture.stem.replace("_", " "))}" '
        f'src="data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}">'
        for picture in pictures
    )
    return '<h2>Curves</h2>\n<div class="pictures">' + "\n".join(images) + "</div>"


def _measured(measurements: Sequence[Measurement]) -> str:
    """Protocol, data, code and libraries: each once, or all that there were."""
    lines = [
        *(f"{m.task}: {describe(m.result['protocol'])}; {_sizes(m)}." for m in measurements),
        *(f"Data: {m.data['name']}, fingerprint {m.data['fingerprint']}." for m in measurements),
        *(f"Code: {m.git or 'unknown revision'}." for m in measurements),
        *(
            f"Libraries: {', '.join(f'{name} {version}' for name, version in m.versions.items())}."
            for m in measurements
        ),
    ]
    return "<h2>How it was measured</h2>\n" + _list(lines)


def _sizes(measurement: Measurement) -> str:
    return f"{measurement.result['queries']:,} queries, {measurement.result['gallery']:,} in the gallery"


def _runs(measurements: Sequence[Measurement], skipped: Sequence[Path]) -> str:
    lines = [str(measurement.folder) for measurement in measurements]
    return "<h2>Runs</h2>\n" + _list([*lines, *(f"{folder}: skipped, it has no metrics.json" for folder in skipped)])


def _list(lines: Sequence[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li><code>{escape(line)}</code></li>" for line in dict.fromkeys(lines)) + "\n</ul>"
