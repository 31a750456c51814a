"""The record table: one row an image, the same columns for every data set."""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: The columns of a record table and what stands where nothing is known.
#:
#: - root, path: folder of the data set; path of the image below it, with forward slashes
#: - vehicle_id, camera_id, track_id: integers, unique only within one data set
#: - timestamp: in the data set's own unit (VeRi-776: frames), comparable only within one data set
#: - domain: `"day"` or `"night"`
#: - colour, type: names, as the data set spells them
#: - view: from which side the camera looks, as the data set names it
#: - box: `"x1 y1 x2 y2"`, 0-based pixels, right and bottom exclusive
#: - mask: path of a picture below root that is bright where the vehicle is
#: - dataset: name of the data set
#: - split: one of `SPLITS`
COLUMNS: dict[str, Any] = {
    "root": "",
    "path": "",
    "vehicle_id": -1,
    "camera_id": -1,
    "track_id": -1,
    "timestamp": float("nan"),
    "domain": "",
    "colour": "",
    "type": "",
    "view": "",
    "box": "",
    "mask": "",
    "dataset": "",
    "split": "",
}
#: Images that are neither trained on nor tested: probabilities are fitted to them.
CALIBRATION = "calibration"
#: `"test"` is an image that is both query and gallery.
SPLITS = ("train", "query", "gallery", "test", CALIBRATION)
DOMAINS = ("day", "night")


class DataError(ValueError):
    """Something is wrong with the data; the message is one sentence for the user."""


def make_table(root: str | Path, dataset: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Builds a record table; the row number is a record's identity from here on.

    Args:
        root: Folder of the data set.
        dataset: Name of the data set.
        columns: At least `path` and `split`, and any other column of `COLUMNS`, all of one length.

    Returns:
        All columns of `COLUMNS` in that order, with a `RangeIndex`.

    Raises:
        DataError: If there are no images, a column is unknown, missing or of the wrong kind, or `split` or `domain`
            has an unknown value.
    """
    values: dict[str, Any] = {"root": str(root), "dataset": dataset, **columns}
    for name in ("path", "split"):
        if name not in values:
            raise DataError(f"Data set {dataset!r}: the column {name!r} is missing, a record table needs it.")
    if unknown := sorted(set(values) - set(COLUMNS)):
        raise DataError(f"Data set {dataset!r}: unknown column {unknown[0]!r}, expected one of {', '.join(COLUMNS)}.")
    length = len(values["path"])
    if length == 0:
        raise DataError(f"Data set {dataset!r}: the lists in {root} name no image at all.")
    table = pd.DataFrame(
        {name: _column(dataset, name, values.get(name, empty), empty, length) for name, empty in COLUMNS.items()}
    )
    for name, allowed in (("split", SPLITS), ("domain", ("", *DOMAINS))):
        if wrong := sorted(set(table[name].unique()) - set(allowed)):
            shown = ", ".join(map(repr, allowed))
            raise DataError(f"Data set {dataset!r}: column {name!r} holds {wrong[0]!r}, expected one of {shown}.")
    return table


def _column(dataset: str, name: str, values: Any, empty: Any, length: int) -> pd.Series:
    dtype: Any = {int: "int64", float: "float64", str: str}[type(empty)]
    if isinstance(values, str | int | float):
        values = [values] * length
    if len(values) != length:
        raise DataError(f"Data set {dataset!r}: column {name!r} has {len(values)} values, expected {length}.")
    try:
        return pd.Series(values, dtype=dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"Data set {dataset!r}: column {name!r} must hold {dtype} values ({error}).") from error


def known(table: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """Whether each record has a value in a column, `(N,)`; in none that came after the table was written."""
    if column not in table:
        return np.zeros(len(table), dtype=bool)
    values = table[column]
    if isinstance(COLUMNS[column], float):
        return values.notna().to_numpy()
    return (values != COLUMNS[column]).to_numpy(dtype=bool)


def image_path(table: pd.DataFrame, row: int, column: Literal["path", "mask"] = "path") -> Path:
    """Path of the image (or, with `column="mask"`, of the mask) of a row."""
    return Path(str(table.loc[row, "root"])) / PurePosixPath(str(table.loc[row, column]))


def fingerprint(table: pd.DataFrame) -> str:
    """16 hexadecimal digits that change with any value or the order of the rows, but not with the root folder."""
    digest = hashlib.sha256()
    for name, empty in COLUMNS.items():
        # views came later: where none is known, a fingerprint is what it was before
        if name == "root" or (name == "view" and not known(table, name).any()):
            continue
        if isinstance(empty, str):
            content = "\0".join(table[name]).encode()
        elif isinstance(empty, float):
            times = table[name].to_numpy(dtype="<f8", copy=True)
            times[np.isnan(times)] = np.nan  # one bit pattern for all of them
            content = times.tobytes()
        else:
            content = table[name].to_numpy(dtype="<i8").tobytes()
        digest.update(f"{name}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]


def training_records(table: pd.DataFrame) -> pd.DataFrame:
    """The training images of known vehicles that say something about the test: those of the tested data set.

    Cameras, times and roads of one data set of a pool mean nothing in another. A single data set without test images
    may be tested elsewhere.

    Args:
        table: The record table.
    """
    train = (table["split"] == "train").to_numpy()
    tested, sets = table.loc[~train, "dataset"].unique(), table["dataset"].unique()
    if len(tested) == 0 and len(sets) == 1:
        tested = sets
    return table[train & known(table, "vehicle_id") & table["dataset"].isin(tested).to_numpy()]
