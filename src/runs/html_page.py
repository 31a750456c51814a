"""Sections as one HTML page that opens without a network: its pictures are inside."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from src.figures.text_table import TextTable
from src.runs.report_tables import OURS, PUBLISHED

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
main { display: flex; flex-wrap: wrap; column-gap: 1rem; }
section { width: 100%; }
section.narrow { width: min-content; max-width: 100%; } .narrow h2 { white-space: nowrap; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; white-space: nowrap; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #888; }
.number { text-align: right; }
.published { color: #595959; font-style: italic; }
.beside { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: start; }
.beside > * { max-width: 100%; }
figure { margin: 0; max-width: 100%; }
figcaption, .note { color: #595959; margin: .25rem 0; overflow-wrap: anywhere; }
img { display: block; height: auto; }
img.narrow { max-width: 100%; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0; }
dt { color: #595959; } dd { margin: 0; overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; } }
"""
#: Pictures up to this wide, in CSS pixels, shrink with the window; wider ones scroll, so that their text stays legible.
_NARROW = 480


@dataclass(frozen=True)
class Picture:
    """A PNG file and what it shows, in words."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a page, shown in the order of the attributes.

    Attributes:
        title: Heading.
        facts: Names and values.
        pictures: Side by side where there is room.
        tables: Likewise; each with its title, unless that is the section's.
        notes: Sentences.
        lines: A list of code.
        folded: Whether the lines are shown on a click only.
    """

    title: str
    facts: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[TextTable] = ()
    notes: Sequence[str] = ()
    lines: Sequence[str] = ()
    folded: bool = False


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The page.

    Args:
        title: Of the page.
        sections: In their order.

    Returns:
        HTML.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n<main>\n"
        + "\n".join(map(_section, sections))
        + "\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    """Sections of narrow pictures alone stand side by side where there is room."""
    alone = section.pictures and not (section.facts or section.tables or section.lines)
    kind = ' class="narrow"' if alone and all(_width(p) <= _NARROW for p in section.pictures) else ""
    return f"<section{kind}>\n" + "\n".join(_parts(section)) + "\n</section>"


def _parts(section: Section) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>"
    if section.facts:
        yield "<dl>" + "\n".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in section.facts) + "</dl>"
    if section.pictures:
        yield '<div class="beside">' + "\n".join(map(_picture, section.pictures)) + "</div>"
    if section.tables:
        yield '<div class="beside">' + "\n".join(_table(t, section.title) for t in section.tables) + "</div>"
    yield from (_note(note) for table in section.tables for note in table.notes)
    yield from map(_note, section.notes)
    if section.lines:
        lines = "<ul>\n" + "\n".join(f"<li><code>{escape(line)}</code></li>" for line in section.lines) + "\n</ul>"
        yield f"<details><summary>Show {len(section.lines)}</summary>{lines}</details>" if section.folded else lines


def _note(sentence: str) -> str:
    return f'<p class="note">{escape(sentence)}</p>'


def _width(picture: Picture) -> int:
    """Its size on paper, in CSS pixels."""
    with Image.open(picture.path) as image:
        return round(image.width * 96 / image.info["dpi"][0])


def _picture(picture: Picture) -> str:
    width = _width(picture)
    content = base64.b64encode(picture.path.read_bytes()).decode()
    kind = ' class="narrow"' if width <= _NARROW else ""
    caption = escape(picture.caption)
    return (
        f'<figure style="width: {width}px"><div class="wide">'
        f'<img{kind} width="{width}" alt="{caption}" src="data:image/png;base64,{content}">'
        f"</div><figcaption>{caption}</figcaption></figure>"
    )


def _table(table: TextTable, heading: str) -> str:
    kinds = ["" if place < table.text_columns else ' class="number"' for place in range(len(table.columns))]
    caption = "" if table.title == heading else f"<caption>{escape(table.title)}</caption>"
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(table.columns, kinds, strict=True))
    lines = []
    for row in table.rows:
        cells = "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        lines.append(f'<tr class="{PUBLISHED if PUBLISHED in row else OURS}">{cells}</tr>')
    body = "\n".join(lines)
    return (
        f'<div class="wide"><table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )
