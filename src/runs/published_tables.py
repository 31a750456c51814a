"""The papers' tables, as they were printed: `src/runs/published/*.yaml`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src.runtime.errors import ConfigError

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Result:
    """Printed numbers, as shares of one with the digits of the paper; None where the paper has none."""

    data: str
    task: str
    numbers: dict[str, Decimal | None]


@dataclass(frozen=True)
class PublishedRow:
    """A row of a paper's table.

    Attributes:
        name: As printed, without the reference.
        when: Settings of a run of the same kind; empty if this project has no such run.
        unless: Values that a setting of such a run must not have; runs from before there was the setting have none.
        results: One for each data set and task.
    """

    name: str
    when: dict[str, Any]
    unless: dict[str, list[Any]]
    results: tuple[Result, ...]


@dataclass(frozen=True)
class PublishedTable:
    """A paper's table or figure.

    Attributes:
        name: Of the file.
        title: What it shows.
        source: Paper and number.
        remarks: What else must be known to compare.
        measures: Columns, in the paper's order.
        swept: Settings that tell its rows apart.
        rows: In the paper's order.
    """

    name: str
    title: str
    source: str
    remarks: str
    measures: tuple[str, ...]
    swept: tuple[str, ...]
    rows: tuple[PublishedRow, ...]

    @property
    def digits(self) -> int:
        """Most digits behind the point that a number has, as a share of one."""
        printed = [number for row in self.rows for result in row.results for number in result.numbers.values()]
        return max(len(str(number).partition(".")[2]) for number in printed if number is not None)


def names() -> list[str]:
    """The tables there are."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def read_table(name: str) -> PublishedTable:
    """Reads a published table.

    Args:
        name: One of `names()`.

    Raises:
        ConfigError: If there is no such table.
    """
    if name not in names():
        raise ConfigError(f"No published table {name!r}; pass table=<one of {', '.join(names())}>.")
    content: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    digits = -2 if content["unit"] == "percent" else 0
    places = [place.split() for place in content["places"]]
    rows = [
        PublishedRow(
            name=str(row["row"]),
            # Without `when` it is somebody else's method.
            when=content.get("when", {}) | row["when"] if "when" in row else {},
            unless=content.get("unless", {}),
            results=tuple(
                Result(data, task, _numbers(content["measures"], values, digits))
                for (data, task), values in zip(places, row["values"], strict=True)
            ),
        )
        for row in content["rows"]
    ]
    return PublishedTable(
        name=name,
        title=content["title"],
        source=content["source"],
        remarks=content.get("remarks", ""),
        measures=tuple(content["measures"]),
        swept=tuple(content.get("swept", ())),
        rows=tuple(rows),
    )


def _numbers(measures: Sequence[str], values: Any, digits: int) -> dict[str, Decimal | None]:
    printed = str(values).split()
    return {
        measure: None if value == "N/A" else Decimal(value).scaleb(digits)
        for measure, value in zip(measures, printed, strict=True)
    }


def tables_of_sweep(ours: Sequence[Mapping[str, Any]], varying: Collection[str]) -> list[PublishedTable]:
    """The published tables whose rows differ in what the runs differ in.

    Args:
        ours: Settings of the runs.
        varying: Those that differ.

    Returns:
        Of two that fit, only the one in which more of the runs have their row, if it has all that the other has.
    """
    methods = {settings.get("method._target_") for settings in ours} - {None}
    fitting: dict[str, tuple[PublishedTable, set[int]]] = {}
    for table in map(read_table, names()):
        targets = {row.when.get("method._target_") for row in table.rows if row.when}
        if table.swept and set(table.swept) <= set(varying) and (targets & {None, *methods} or not methods):
            placed = {place for place, one in enumerate(ours) if any(is_of(row, one) for row in table.rows)}
            fitting[table.name] = (table, placed)
    return [table for table, placed in fitting.values() if not any(placed < other for _, other in fitting.values())]


def is_of(row: PublishedRow, settings: Mapping[str, Any]) -> bool:
    """Whether a run is of the kind of a published row; null in the row also means that the run has no such setting."""
    fits = bool(row.when) and all(settings.get(key) == value for key, value in row.when.items())
    return fits and not any(settings.get(key) in values for key, values in row.unless.items())
