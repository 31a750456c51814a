"""Filters: which images of a gallery a search is about."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data import known

_LONG_AFTER_1970 = 1e8  # seconds: numbers below it, among times above it, are meant as dates
#: What a filter takes values of, and the column of the record table.
COLUMNS = {"camera": "camera_id", "domain": "domain", "colour": "colour", "type": "type"}


@dataclass(frozen=True)
class Filters:
    """Choice of the images that a search is about; an image that does not say is not among them.

    Values may be as YAML and Hydra read them: the names 3008, true, 1e5 and null come as numbers, a truth value and
    None, and a camera as the text 03. `fitted` finds what is meant.

    Attributes:
        camera: Numbers of cameras; none for all. Likewise the next three.
        domain: `"day"`, `"night"`.
        colour: Names, as the data set spells them.
        type: Names, as the data set spells them.
        after: Earliest timestamp.
        before: Latest timestamp.
    """

    camera: Sequence[Any] = ()
    domain: Sequence[Any] = ()
    colour: Sequence[Any] = ()
    type: Sequence[Any] = ()
    after: float | None = None
    before: float | None = None

    @property
    def active(self) -> bool:
        """Whether anything is filtered."""
        return any(getattr(self, field.name) not in ((), [], None) for field in fields(self))

    def fitted(self, table: pd.DataFrame) -> Self:
        """The same filters with the values that the table has.

        Raises:
            ValueError: If a value is not in the table at all.
        """
        exact: dict[str, Any] = {}
        for name, column in COLUMNS.items():
            if not (wanted := getattr(self, name)):
                continue
            there = sorted(set(table.loc[known(table, column), column].tolist()))
            exact[name] = []
            for value in wanted:
                meant = [value] if _is_one_of(value, there) else [one for one in there if _reads_as(one, value)]
                if not meant:
                    raise ValueError(
                        f"{name} is {value!r}, but the gallery has {', '.join(map(str, there)) or 'none'}."
                    )
                exact[name] += meant
        return replace(self, **exact)

    def keep(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Mask of the records that a search is about, `(N,)`.

        Raises:
            ValueError: If a value is not in the table at all.
        """
        kept = np.ones(len(table), dtype=bool)
        exact = self.fitted(table)
        for name, column in COLUMNS.items():
            if wanted := getattr(exact, name):
                kept &= table[column].isin(wanted).to_numpy()
        times = table["timestamp"].to_numpy()
        if self.after is not None:
            kept &= times >= self.after
        if self.before is not None:
            kept &= times <= self.before
        return kept


def gallery_time(text: Any, unit: str, timestamps: pd.Series) -> float:
    """A time as a gallery counts time; see `parse_time`.

    Args:
        text: What someone asks for.
        unit: Of the gallery, see `GalleryMeta`.
        timestamps: Of its images.

    Raises:
        ValueError: If it is no time, or a date where the gallery does not count seconds since 1970.
    """
    times = timestamps.dropna()
    time = parse_time(text, by_calendar=unit in ("", "unix") and len(times) > 0 and times.min() >= _LONG_AFTER_1970)
    is_date = re.match(r"\d{4}-", str(text)) is not None
    if is_date and unit not in ("", "unix") and len(times) > 0 and not times.min() <= time <= times.max():
        raise ValueError(
            f"{text} is a date, but the gallery counts time in {unit}, from {times.min():,.15g} to "
            f"{times.max():,.15g}; pass a number."
        )
    return time


def _is_one_of(value: Any, there: Sequence[Any]) -> bool:
    """Whether a value stands there as it is; True is not 1."""
    return any(type(value) is type(one) and value == one for one in there)


def _reads_as(one: str | int, value: Any) -> bool:
    """Whether a name or number of the table is what a value was before it was read as a number, truth value or None."""
    if isinstance(one, int):
        return _number(value) == one
    if value is None or isinstance(value, bool):
        return one.casefold() == ("null" if value is None else str(value).casefold())
    if isinstance(value, str):
        return False
    number = _number(one)
    return number is not None and (number == value or (math.isnan(number) and math.isnan(value)))


def _number(value: Any) -> int | float | None:
    """A number or what its text says, None of anything else; True is none."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def parse_time(text: Any, *, by_calendar: bool = False) -> float:
    """A timestamp from a number, or from a date and time, which become seconds since 1970.

    Args:
        text: `"95057.6"`, or ISO 8601, `"2026-11-21T17:30"`, UTC unless it says otherwise.
        by_calendar: Whether the timestamps are seconds since 1970, so that `20261121` is a date and not a day of 1970.

    Raises:
        ValueError: If it is neither.

    >>> parse_time("95057.6")
    95057.6
    >>> parse_time("1970-01-01T00:01+00:00")
    60.0
    >>> parse_time(20251127), parse_time(20251127, by_calendar=True)
    (20251127.0, 1764201600.0)
    """
    compact = by_calendar and re.fullmatch(r"\d{8}(\d{4}|\d{6})?", str(text)) is not None
    number = None if compact else _number(text)
    if number is not None and math.isfinite(number):
        return float(number)
    try:
        moment = datetime.fromisoformat(f"{str(text)[:8]}T{str(text)[8:] or '00'}" if compact else str(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: pass a number, or a date and time such as 2026-11-21T17:30.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
