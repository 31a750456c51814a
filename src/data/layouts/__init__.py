"""Parsers: one small class a data set, folder → record table."""

from typing import Any, ClassVar, Protocol

import pandas as pd

from src.data.layouts.csv import CSV
from src.data.layouts.dn import DayNight
from src.data.layouts.veri776 import VeRi776


class Layout(Protocol):
    """What a parser offers: the data set's name, the columns it fills beyond vehicle and split, and the table."""

    provides: ClassVar[frozenset[str]]

    @property
    def name(self) -> str:
        """Name of the data set."""
        ...

    def read(self) -> pd.DataFrame:
        """The record table."""
        ...


#: Every parser, for messages that say where else to look.
LAYOUTS: tuple[type[Any], ...] = (DayNight, VeRi776, CSV)

__all__ = ["CSV", "LAYOUTS", "DayNight", "Layout", "VeRi776"]
