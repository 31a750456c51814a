"""One run as sections of a page; what cannot be shown is said."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from src.data import known
from src.evaluation.metrics_record import Group, MetricsRecord
from src.evaluation.metrics_table import metrics_table
from src.figures.text_table import TextTable
from src.runs.html_page import Section
from src.runs.report_tables import as_text
from src.runs.run_contents import FinishedRun, read_finished_run
from src.runs.run_pictures import attention, curves, distances, embedding_map, rank_lists, roc, trip_densities


def run_sections(path: Path, folder: Path, vehicles: int, heat_maps: int, console: Console) -> list[Section]:
    """The sections of a run's page; prints its table.

    Args:
        path: The run's folder.
        folder: Where the pictures go.
        vehicles: How many on the map of embeddings.
        heat_maps: Images to draw attention over.
        console: Where to print.

    Raises:
        ConfigError: If the folder has no results.
    """
    run = read_finished_run(path)
    table = metrics_table(run.metrics)
    console.print(table.for_terminal())
    sections = [
        Section("Run", facts=[*_facts(run)]),
        Section("Results", tables=[table]),
        _breakdowns(run.metrics),
        rank_lists(run, folder),
        distances(run, folder),
        embedding_map(run, folder, vehicles),
        attention(run, folder, heat_maps),
        curves(run, folder),
        trip_densities(run, folder),
        *roc(run),
    ]
    for section in sections:
        for note in section.notes:
            console.print(f"{section.title}: {note}", style="dim", highlight=False, markup=False, soft_wrap=True)
    settings = run.measurement.settings
    lines = [f"{key}: {as_text(value)}" for key, value in settings.items()]
    return [*sections, Section("All settings", lines=lines, folded=True)]


def _facts(run: FinishedRun) -> Iterator[tuple[str, str]]:
    """Facts of the run: method, data, code, libraries."""
    metrics, settings = run.metrics, run.measurement.settings
    yield "Folder", str(run.path)
    for name, key in (("Method", "method"), ("Backbone", "backbone.name")):
        if settings.get(key):
            yield name, str(settings[key])
    if size := settings.get("transforms.size"):
        yield "Image size", as_text(size)
    stages = {m[1]: epochs for key, epochs in settings.items() if (m := re.fullmatch(r"stages\.(.+)\.epochs", key))}
    if stages:
        yield "Stages", ", ".join(f"{stage}: {epochs} epochs" for stage, epochs in stages.items())
    yield "Post-processing", " → ".join(metrics.postprocessing) or "none"
    yield "Seed", str(run.measurement.seed)
    yield "Data", f"{metrics.data.name}, fingerprint {metrics.data.fingerprint}"
    if not isinstance(run.embeddings, str):
        yield "Known of the data", _known(run.embeddings.table)
    for model in metrics.models:
        yield "Checkpoint", f"{model.checkpoint}, SHA-256 {model.checkpoint_sha}"
    yield "Code", metrics.git or "unknown revision"
    yield "Libraries", ", ".join(f"{name} {version}" for name, version in metrics.versions.items())


def _known(table: pd.DataFrame) -> str:
    """Sizes of the splits, and for how much of the images each column is known."""
    counts = ", ".join(f"{count:,} {split}" for split, count in table["split"].value_counts(sort=False).items())
    columns = ("vehicle_id", "camera_id", "track_id", "timestamp", "domain", "colour", "type", "box", "mask")
    shares = {column: float(np.mean(known(table, column))) for column in columns}
    parts = (f"{column} {'' if share == 1 else f'({share:.0%})'}".strip() for column, share in shares.items() if share)
    return f"{counts} images; {', '.join(parts)}"


def _breakdowns(metrics: MetricsRecord) -> Section:
    """The queries of each camera, domain, colour and type: a table each, with a column a task."""
    breakdowns = metrics.breakdowns
    tables = []
    for column in dict.fromkeys(column for groups in breakdowns.values() for column in groups):
        tasks = {task: groups[column] for task, groups in breakdowns.items() if column in groups}
        values = sorted({value for groups in tasks.values() for value in groups}, key=_in_order)
        rows = tuple((value, *(_scores(groups.get(value)) for groups in tasks.values())) for value in values)
        title = f"mAP / R1 (number of queries) by {column.removesuffix('_id')} of the query"
        tables.append(TextTable(title, ("", *tasks), rows, (), 1))
    note = "Left out: the queries differ in no camera, domain, colour or type that is known."
    return Section("Results by kind of query", tables=tables, notes=() if tables else (note,))


def _scores(group: Group | None) -> str:
    if group is None:
        return "–"
    return f"{group.mAP:.3f}" if group.queries is None else f"{group.mAP:.3f} / {group.R1:.3f} ({group.queries:,})"


def _in_order(group: str) -> tuple[int, str]:
    return (int(group) if group.isdigit() else -1, group)
