"""Places of cameras, for the map on the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data.layouts.csv_file import separator
from src.runtime.errors import ConfigError

_COLUMNS = {"camera_id": "int64", "name": "str", "x": "float64", "y": "float64"}


@dataclass(frozen=True)
class Camera:
    """A camera's name, and its place: x to the east and y to the north, in any unit."""

    name: str
    x: float
    y: float


def read_cameras(path: Path) -> dict[int, Camera]:
    """Reads names and places of cameras.

    Args:
        path: A CSV file with the columns camera_id, name, x and y; x to the east and y to the north, in any unit.
            Separated by commas, semicolons or tabs.

    Returns:
        The cameras by number.

    Raises:
        ConfigError: If the file is missing, has other columns, or values that are no numbers.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        table = pd.read_csv(
            path,
            sep=separator(header),
            dtype=dict(_COLUMNS),
            encoding="utf-8-sig",
            keep_default_na=False,  # a camera may be called NA
            na_values={column: [""] for column in _COLUMNS},
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"cameras={path} cannot be read as a CSV file of {', '.join(_COLUMNS)} ({error}).") from error
    if sorted(table.columns) != sorted(_COLUMNS) or table.isna().any(axis=None):
        raise ConfigError(
            f"cameras={path} has the columns {', '.join(table.columns)}, expected {', '.join(_COLUMNS)}, all filled in."
        )
    return {
        camera: Camera(name, x, y)
        for camera, name, x, y in zip(*(table[column].tolist() for column in _COLUMNS), strict=True)
    }


def places_from_distances(distances: pd.DataFrame) -> dict[int, tuple[float, float]]:
    """Places on a plane whose distances come close to those along the roads; which way is north stays open.

    Classical multidimensional scaling: Torgerson, "Multidimensional scaling: I. Theory and method", Psychometrika 1952.

    Args:
        distances: Symmetric, index and columns the cameras' numbers.
    """
    squares = distances.to_numpy(dtype=np.float64) ** 2
    centred = squares - squares.mean(axis=0) - squares.mean(axis=1)[:, None] + squares.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    plane: NDArray[np.float64] = vectors[:, -2:] * np.sqrt(values[-2:].clip(min=0))
    return {int(camera): (float(x), float(y)) for camera, (y, x) in zip(distances.index, plane, strict=True)}


def places(cameras: Mapping[int, Camera], distances: pd.DataFrame | None) -> dict[int, tuple[float, float]]:
    """Places of cameras: as their file says, else as far as road distances tell; empty if nothing does."""
    if cameras:
        return {number: (camera.x, camera.y) for number, camera in cameras.items()}
    return {} if distances is None else places_from_distances(distances)
