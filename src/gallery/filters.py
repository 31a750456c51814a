"""Which images of a gallery a search is about."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data import known

#: What a filter takes values of, and the column of the record table.
COLUMNS = {"camera": "camera_id", "domain": "domain", "colour": "colour", "type": "type"}


@dataclass(frozen=True)
class Filters:
    """Which images a search is about; an image that does not say is not among them.

    Attributes:
        camera: Numbers of cameras; none for all. Likewise the next three.
        domain: `"day"`, `"night"`.
        colour: Names, as the data set spells them.
        type: Names, as the data set spells them.
        after: Earliest timestamp.
        before: Latest timestamp.
    """

    camera: Sequence[int] = ()
    domain: Sequence[str] = ()
    colour: Sequence[str] = ()
    type: Sequence[str] = ()
    after: float | None = None
    before: float | None = None

    @property
    def active(self) -> bool:
        """Whether anything is filtered."""
        return any(getattr(self, field.name) not in ((), [], None) for field in fields(self))

    def keep(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Which records a search is about, `(N,)`.

        Raises:
            ValueError: If a value is not in the table at all.
        """
        kept = np.ones(len(table), dtype=bool)
        for name, column in COLUMNS.items():
            wanted = getattr(self, name)
            if not wanted:
                continue
            there = table.loc[known(table, column), column]
            if missing := [value for value in wanted if value not in set(there)]:
                found = ", ".join(map(str, sorted(set(there)))) or "none"
                raise ValueError(f"{name} is {missing[0]!r}, but the gallery has {found}.")
            kept &= table[column].isin(list(wanted)).to_numpy()
        times = table["timestamp"].to_numpy()
        if self.after is not None:
            kept &= times >= self.after
        if self.before is not None:
            kept &= times <= self.before
        return kept


def parse_time(text: str | float) -> float:
    """A timestamp from a number, or from a date and time, which become seconds since 1970.

    Args:
        text: `"95057.6"`, or ISO 8601, `"2026-11-21T17:30"`, UTC unless it says otherwise.

    Raises:
        ValueError: If it is neither.

    >>> parse_time("95057.6")
    95057.6
    >>> parse_time("1970-01-01T00:01+00:00")
    60.0
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: pass a number, or a date and time such as 2026-11-21T17:30.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
