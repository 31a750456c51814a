"""Checks a data set: are the files of its lists there and whole, and is it as large as it should be."""

import posixpath
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from src.data.check.disk import copies, list_files, unreadable
from src.data.check.expected import EXPECTED, Counts, Edition
from src.data.layouts import Layout
from src.data.layouts.extra import add_extra
from src.data.layouts.list_files import without_checking_files
from src.data.table import known

_SIDES = {"train": ("train",), "query": ("query", "test"), "gallery": ("gallery", "test")}
_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Side:
    """How large a side of a data set is.

    Attributes:
        dataset: Name of the data set.
        name: train, query or gallery; an image that is both query and gallery counts in both.
        found: Its sizes.
        expected: Those of the data set as published, None if unknown.
    """

    dataset: str
    name: str
    found: Counts
    expected: Counts | None


@dataclass(frozen=True)
class Finding:
    """Something about a data set that its user should know.

    Attributes:
        name: Which kind of finding.
        problem: Whether training or testing would fail or give wrong numbers; if not, it is a warning.
        sentence: What was found and what to do.
        items: All files, vehicles, … it is about.
    """

    name: str
    problem: bool
    sentence: str
    items: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """What a check found."""

    name: str
    sides: Sequence[Side]
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether there are no problems; there may be warnings."""
        return not any(finding.problem for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        sides = [
            {
                "dataset": side.dataset,
                "side": side.name,
                "found": side.found._asdict(),
                "expected": side.expected._asdict() if side.expected else None,
            }
            for side in self.sides
        ]
        return {
            "schema": 1,
            "data": self.name,
            "ok": self.ok,
            "sides": sides,
            "findings": [asdict(finding) for finding in self.findings],
        }


def check(
    layout: Layout,
    *,
    extra: Path | str | None = None,
    decode: bool = False,
    duplicates: bool = False,
    workers: int = 0,
) -> Report:
    """Checks a data set.

    Args:
        layout: Its parser.
        extra: Side data, see `src.data.layouts.extra`.
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
    findings = [*_differences(sides), *_in_training_and_test(table)]
    images = table["root"].str.cat(table["path"], sep="/")
    masks = table["root"].str.cat(table["mask"], sep="/")[known(table, "mask")].drop_duplicates()
    sizes, unlisted = _on_disk(table)
    listed = pd.concat([images, masks]).drop_duplicates().tolist()
    whole = {path: sizes[path] for path in listed if sizes.get(path, 0) > 0}
    findings += _finding(
        [path for path in listed if path not in sizes],
        "missing_files",
        "{count} of {total} listed files are missing: unpack the data set completely.",
        total=len(listed),
    )
    findings += _finding(
        [path for path in listed if sizes.get(path) == 0],
        "empty_files",
        "{count} of {total} listed files are empty: copy them again from the data set's archive.",
        total=len(listed),
    )
    findings += _finding(
        unlisted,
        "unlisted_images",
        "{count} images are in no list that was read: other lists may have them (another test set); if not, the lists "
        "are of another version.",
        problem=False,
    )
    if duplicates:
        findings += _duplicates(table, images, copies({path: whole[path] for path in images if path in whole}, workers))
    if decode:
        there = images.isin(whole)
        pairs = table[there].assign(image=images)[["image", "box"]].drop_duplicates().itertuples(index=False, name=None)
        jobs = [(Path(image), box) for image, box in pairs]
        mask_jobs = [Path(mask) for mask in masks if mask in whole]
        findings += _finding(
            unreadable(jobs, mask_jobs, workers),
            "unreadable_images",
            "{count} of {total} images and masks cannot be read: copy them again, or take them out of the lists.",
            total=len(jobs) + len(mask_jobs),
        )
    return Report(layout.name, sides, findings)


def count_sides(table: pd.DataFrame, editions: Sequence[Edition] = ()) -> list[Side]:
    """Counts images, vehicles and cameras.

    Args:
        table: The record table.
        editions: Published sizes; those that differ least are the expected ones.
    """
    found = {}
    for dataset, part in table.groupby("dataset", sort=False):
        for side, splits in _SIDES.items():
            rows = part[part["split"].isin(splits)]
            if not rows.empty:
                vehicles, cameras = (
                    rows.loc[known(rows, column), column].nunique() for column in ("vehicle_id", "camera_id")
                )
                found[str(dataset), side] = Counts(len(rows), vehicles, cameras)
    by_side = {side: counts for (_, side), counts in found.items()}
    nearest = min(editions, key=lambda edition: len(_wrong(by_side, edition)), default={})
    return [Side(dataset, side, counts, nearest.get(side)) for (dataset, side), counts in found.items()] + [
        Side(str(table["dataset"].iloc[0]), side, Counts(0, 0, 0), expected)
        for side, expected in nearest.items()
        if side not in by_side
    ]


def _wrong(found: dict[str, Counts], edition: Edition) -> list[tuple[str, str]]:
    """Which numbers (side, field) are not as published."""
    return [
        (side, field)
        for side, expected in edition.items()
        for field, number in expected._asdict().items()
        if number is not None and getattr(found.get(side, Counts(0, 0, 0)), field) != number
    ]


def _differences(sides: Sequence[Side]) -> list[Finding]:
    found = {side.name: side.found for side in sides}
    expected = {side.name: side.expected for side in sides if side.expected}
    items = [
        f"{side}: {getattr(found[side], field):,} {field}, expected {getattr(expected[side], field):,}"
        for side, field in _wrong(found, expected)
    ]
    return _finding(
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
    return _finding(
        [f"{dataset} {vehicle}" for dataset, vehicle in sorted(by_use[0] & by_use[1])],
        "vehicles_in_training_and_test",
        "{count} vehicles are in the training set and among the queries, which makes results too good: take them out "
        "of one of the lists.",
    )


def _on_disk(table: pd.DataFrame) -> tuple[dict[str, int], list[str]]:
    """Every file in the folders that the table names, with its size; and the images that the table does not name."""
    sizes: dict[str, int] = {}
    unlisted = []
    for root, part in table.groupby("root", sort=False):
        named = set(part["path"]) | set(part["mask"]) - {""}
        # A path such as ../x.jpg must not have the folder above listed, nor a//x.jpg go for another file than a/x.jpg.
        plain = {path for path in named if posixpath.normpath(path) == path and not path.startswith("../")}
        files = list_files(Path(str(root)), sorted({path.partition("/")[0] if "/" in path else "" for path in plain}))
        files |= {
            path: Path(str(root), path).stat().st_size for path in named - plain if Path(str(root), path).is_file()
        }
        named |= {posixpath.normpath(path) for path in named - plain}
        sizes |= {f"{root}/{path}": size for path, size in files.items()}
        unlisted += [
            f"{root}/{path}"
            for path in sorted(files.keys() - named)
            if PurePosixPath(path).suffix.casefold() in _IMAGES
        ]
    return sizes, unlisted


def _duplicates(table: pd.DataFrame, images: pd.Series, groups: list[list[str]]) -> list[Finding]:
    train = set(images[table["split"] == "train"])
    across: list[str] = []
    within: list[str] = []
    for group in groups:
        in_training = [path in train for path in group]
        (across if any(in_training) and not all(in_training) else within).append(" = ".join(group))
    findings = _finding(
        across,
        "same_image_in_training_and_test",
        "{count} images are in the training set and, as copies, in the test set, which makes results too good: take "
        "them out of one of the lists.",
    )
    return findings + _finding(
        within,
        "same_image_twice",
        "{count} images are there several times: VeRi-776's gallery repeats its queries, else it may be a mistake.",
        problem=False,
    )


def _finding(items: Sequence[str], name: str, sentence: str, problem: bool = True, total: int = 0) -> list[Finding]:
    if not items:
        return []
    return [Finding(name, problem, sentence.format(count=f"{len(items):,}", total=f"{total:,}"), items)]
