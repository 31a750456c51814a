"""Runs side by side as sections of a page: tables, curves, and how it was measured."""

from collections.abc import Sequence
from pathlib import Path

from src.figures.text_table import TextTable
from src.runs.comparison import describe
from src.runs.finished import Measurement
from src.runs.html_page import Picture, Section


def comparison_sections(
    tables: Sequence[TextTable],
    pictures: Sequence[Path],
    measurements: Sequence[Measurement],
    skipped: Sequence[Path],
) -> list[Section]:
    """The sections.

    Args:
        tables: In their order; the first is ours.
        pictures: Curves, shown after the first table.
        measurements: All that the tables hold, for how it was measured.
        skipped: Runs without results.
    """
    first, *others = (Section(table.title, tables=[table]) for table in tables)
    curves = [Picture(path, path.stem.removeprefix("curve_").replace("_", " ")) for path in pictures]
    folders = [str(measurement.folder) for measurement in measurements]
    folders += [f"{folder}: skipped, it has no metrics.json" for folder in skipped]
    return [
        first,
        *([Section("Curves", pictures=curves)] if curves else []),
        *others,
        Section("How it was measured", lines=_measured(measurements)),
        Section("Runs", lines=list(dict.fromkeys(folders))),
    ]


def _measured(measurements: Sequence[Measurement]) -> list[str]:
    """Protocol, data, code and libraries: each once, or all that there were."""
    lines = [
        *(f"{m.task}: {describe(m.result.protocol)}; {_sizes(m)}." for m in measurements),
        *(f"Data: {m.data.name}, fingerprint {m.data.fingerprint}." for m in measurements),
        *(f"Code: {m.git or 'unknown revision'}." for m in measurements),
        *(
            f"Libraries: {', '.join(f'{name} {version}' for name, version in m.versions.items())}."
            for m in measurements
        ),
    ]
    return list(dict.fromkeys(lines))


def _sizes(measurement: Measurement) -> str:
    return f"{measurement.result.queries:,} queries, {measurement.result.gallery:,} in the gallery"
