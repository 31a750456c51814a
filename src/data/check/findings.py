"""Checks a data set: are the files of its lists there and whole, and is it as large as it should be."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from src.data.check.day_and_night import balance
from src.data.check.disk import file_findings
from src.data.check.expected import EXPECTED, Counts, Edition
from src.data.check.records import Finding, Report, Side, findings_of
from src.data.layouts import Layout
from src.data.layouts.extra import add_extra
from src.data.layouts.list_files import without_checking_files
from src.data.protocols import answerable, build_tasks
from src.data.table import DOMAINS, DataError, known

_SIDES = {"train": ("train",), "query": ("query", "test"), "gallery": ("gallery", "test")}


def check(
    layout: Layout,
    *,
    extra: Path | str | None = None,
    tasks: Sequence[str] = (),
    images: bool = True,
    decode: bool = False,
    duplicates: bool = False,
    workers: int = 0,
) -> Report:
    """Checks a data set.

    Args:
        layout: Its parser.
        extra: Side data, see `src.data.layouts.extra`.
        tasks: Names of the retrieval tasks that shall be possible.
        images: Whether there are images; without, only the lists are checked, and it is said which images they want.
        decode: Decode every image and mask, which takes long.
        duplicates: Look for images with the same content.
        workers: Number of processes that decode and of threads that compare; 0 does it here.

    Raises:
        DataError: If the lists cannot be read: a missing list, a malformed line, ….
    """
    with without_checking_files():
        table = layout.read()
        if extra is not None:
            table = add_extra(table, extra, layout.name)
    sides = count_sides(table, EXPECTED.get(layout.name, ()))
    findings = [*_differences(sides), *_in_training_and_test(table), *_impossible(table, tasks), *_of_one_time(table)]
    paths = table["root"].str.cat(table["path"], sep="/")
    if not images:
        wanted = paths.drop_duplicates().tolist()
        folders = ", ".join(table["root"].unique())
        sentence = f"{len(wanted):,} images are wanted below {folders}; none was looked for."
        findings.append(Finding("wanted_images", False, sentence, wanted))
    else:
        findings += file_findings(table, paths, decode, duplicates, workers)
    return Report(layout.name, sides, findings, images_a_class(table))


def images_a_class(table: pd.DataFrame) -> dict[str, list[int]]:
    """Training images of each vehicle, ascending, by data set.

    Args:
        table: The record table.
    """
    train = table[(table["split"] == "train") & known(table, "vehicle_id")]
    sizes = train.groupby(["dataset", "vehicle_id"], sort=False).size()
    return {str(dataset): sorted(of_one.tolist()) for dataset, of_one in sizes.groupby(level=0, sort=False)}


def count_sides(table: pd.DataFrame, editions: Sequence[Edition] = ()) -> list[Side]:
    """Counts images, vehicles and cameras.

    Args:
        table: The record table.
        editions: Published sizes; those that differ least are the expected ones.
    """
    found: dict[tuple[str, str], Counts] = {}
    balances = {}
    for dataset, part in table.groupby("dataset", sort=False):
        for side, splits in _SIDES.items():
            rows = part[part["split"].isin(splits)]
            if not rows.empty:
                vehicles, cameras = (
                    rows.loc[known(rows, column), column].nunique() for column in ("vehicle_id", "camera_id")
                )
                balances[str(dataset), side] = balance(rows)
                times = (rows["domain"].value_counts().get(domain, 0) for domain in DOMAINS)
                day, night = map(int, times) if known(rows, "domain").any() else (None, None)
                found[str(dataset), side] = Counts(len(rows), vehicles, cameras, day, night)
    by_side = {side: counts for (_, side), counts in found.items()}
    nearest = min(editions, key=lambda edition: len(_wrong(by_side, edition)), default={})
    return [
        Side(dataset, side, counts, nearest.get(side), balances[dataset, side])
        for (dataset, side), counts in found.items()
    ] + [
        Side(str(table["dataset"].iloc[0]), side, Counts(0, 0, 0), expected)
        for side, expected in nearest.items()
        if side not in by_side
    ]


def _wrong(found: dict[str, Counts], edition: Edition) -> list[tuple[str, str]]:
    """Numbers (side, field) that are not as published."""
    return [
        (side, field)
        for side, expected in edition.items()
        for field, number in expected._asdict().items()
        if number is not None and _number(found.get(side, Counts()), field) != number
    ]


def _number(counts: Counts, field: str) -> int:
    return getattr(counts, field) or 0


def _differences(sides: Sequence[Side]) -> list[Finding]:
    found = {side.name: side.found for side in sides}
    expected = {side.name: side.expected for side in sides if side.expected}
    items = [
        f"{side}: {_number(found[side], field):,} {field}, expected {_number(expected[side], field):,}"
        for side, field in _wrong(found, expected)
    ]
    return findings_of(
        items,
        "unexpected_numbers",
        "{count} numbers differ from the published data set: lists are cut, of another version or of another test set.",
        problem=False,
    )


def _in_training_and_test(table: pd.DataFrame) -> list[Finding]:
    """Vehicles of the training set that are searched for in the test. Those in the gallery only may be distractors."""
    shown = table[known(table, "vehicle_id")]
    by_use = [
        set(map(tuple, shown.loc[shown["split"].isin(splits), ["dataset", "vehicle_id"]].drop_duplicates().to_numpy()))
        for splits in (_SIDES["train"], _SIDES["query"])
    ]
    return findings_of(
        [f"{dataset} {vehicle}" for dataset, vehicle in sorted(by_use[0] & by_use[1])],
        "vehicles_in_training_and_test",
        "{count} vehicles are in the training set and among the queries, which makes results too good: take them out "
        "of one of the lists.",
    )


def _impossible(table: pd.DataFrame, tasks: Sequence[str]) -> list[Finding]:
    """Tasks that cannot be measured, and queries that cannot be answered."""
    findings = []
    for name in tasks:
        try:
            (task,) = build_tasks(table, [name], trials=1)
        except DataError as error:
            findings.append(Finding("impossible_task", True, str(error), [name]))
            continue
        trial = task.trials[0]
        unanswered = trial.query[~answerable(table, trial, task.protocol.ignore)]
        findings += findings_of(
            table["path"].iloc[unanswered].tolist(),
            "queries_without_answer",
            f"{{count}} of {{total}} queries of task {name!r} have nothing to find by the rule {task.protocol.ignore} "
            "and are left out.",
            problem=False,
            total=len(trial.query),
        )
    return findings


def _of_one_time(table: pd.DataFrame) -> list[Finding]:
    """Vehicles that are not seen by day and by night, where a data set is about both."""
    findings = []
    for name, rows in (("training", table["split"] == "train"), ("test", table["split"] != "train")):
        records = table[rows & known(table, "vehicle_id") & known(table, "domain")]
        if records["domain"].nunique() < len(DOMAINS):
            continue
        times = records.groupby(["dataset", "vehicle_id"])["domain"].nunique()
        findings += findings_of(
            [f"{dataset} {vehicle}" for dataset, vehicle in times.index[times < len(DOMAINS)]],
            "vehicles_of_one_time",
            f"{{count}} of {{total}} {name} vehicles are there by day alone or by night alone; those of DN-348 and "
            "DN-Wild are there by both.",
            problem=False,
            total=len(times),
        )
    return findings
