"""Parsers: one small class a data set, folder → record table."""

from typing import ClassVar, Protocol, runtime_checkable

import pandas as pd

from src.data.layouts.cityflow import CityFlow
from src.data.layouts.compcars import CompCars
from src.data.layouts.csv import CSV
from src.data.layouts.dn import DayNight
from src.data.layouts.pool import Pool
from src.data.layouts.vehicle_id import VehicleID
from src.data.layouts.vehiclex import VehicleX
from src.data.layouts.veri776 import VeRi776
from src.data.layouts.veri_wild import VeriWild, VeriWild2


class Layout(Protocol):
    """Parser of a data set: its name, the columns it fills beyond vehicle and split, and the table."""

    provides: ClassVar[frozenset[str]]

    @property
    def name(self) -> str:
        """Name of the data set."""
        ...

    def read(self) -> pd.DataFrame:
        """The record table."""
        ...


@runtime_checkable
class HasCameraDistances(Protocol):
    """Parser of a data set that comes with road distances between its cameras."""

    def camera_distances(self) -> pd.DataFrame | None:
        """The distances, index and columns the cameras' numbers; None if this copy lacks them."""
        ...


__all__ = [
    "CSV",
    "CityFlow",
    "CompCars",
    "DayNight",
    "HasCameraDistances",
    "Layout",
    "Pool",
    "VeRi776",
    "VehicleID",
    "VehicleX",
    "VeriWild",
    "VeriWild2",
]
