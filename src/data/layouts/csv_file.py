"""Reading a CSV file of ours: a line an image, columns of the record table."""

import csv
import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from src.data.table import COLUMNS, DOMAINS, SPLITS, DataError

_INTEGER = r"-?\d{1,18}"

#: Column → what a value must look like, in words and as a regular expression. Anything goes for the others.
_FORMATS: dict[str, tuple[str, str]] = {
    "vehicle_id": ("an integer, -1 where the vehicle is none of the others", _INTEGER),
    "split": (f"one of {', '.join(SPLITS)}", "|".join(SPLITS)),
    "camera_id": ("an integer or nothing", f"(?:{_INTEGER})?"),
    "track_id": ("an integer or nothing", f"(?:{_INTEGER})?"),
    "timestamp": ("a number or nothing", r"(?:-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)?"),
    "domain": (f"{' or '.join(DOMAINS)} or nothing", "|".join(DOMAINS) + "|"),
    "box": ("four integers 'x1 y1 x2 y2' or nothing", r"(?:\d+ \d+ \d+ \d+)?"),
}
_KNOWN = tuple(name for name in COLUMNS if name not in {"root", "dataset"})


@dataclass(frozen=True)
class CSVFile:
    """The fields of a CSV file (UTF-8, comma-separated, a header line).

    Attributes:
        path: The file.
        dataset: Name of the data set, for messages.
        text: The fields as text, spaces around them removed, and in column `line` where each record ends.
    """

    path: Path
    dataset: str
    text: pd.DataFrame

    @classmethod
    def read(cls, path: Path, dataset: str, required: Collection[str]) -> "CSVFile":
        """Reads a file; `check_values` is the next step.

        Args:
            path: The file.
            dataset: Name of the data set, for messages.
            required: Columns that must be there; the other columns of the record table may be.

        Raises:
            DataError: If it is no CSV file, or a column is unknown, missing or there twice.
        """
        records = []
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.reader(stream, strict=True)
                header = [name.strip() for name in next(reader, [])]
                _check_header(path, dataset, header, required)
                for fields in reader:
                    if fields and len(fields) != len(header):
                        raise DataError(
                            f"Data set {dataset!r}: line {reader.line_num} of {path} has {len(fields)} fields, "
                            f"expected {len(header)}: {', '.join(header)}."
                        )
                    if fields:
                        records.append((reader.line_num, *map(str.strip, fields)))
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"Data set {dataset!r}: {path} is no UTF-8 CSV file ({error}).") from error
        return cls(path, dataset, pd.DataFrame(records, columns=["line", *header]))

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [name for name in self.text.columns if name != "line"]

    def check_values(self, may_be_empty: Collection[str] = ()) -> None:
        """Checks each field by itself.

        Args:
            may_be_empty: Columns with values that may be left out though their format says otherwise.

        Raises:
            DataError: Names the line of the first wrong value.
        """
        for name in self.columns:
            if name in _FORMATS:
                words, pattern = _FORMATS[name]
                wrong = ~self.text[name].str.fullmatch(pattern)
                self.refuse(name, wrong & ~((self.text[name] == "") & (name in may_be_empty)), f"expected {words}")
        self.refuse("path", self.text["path"] == "", "expected the path of an image")
        for name in [name for name in ("path", "mask") if name in self.columns]:
            outside = self.text[name].map(_is_absolute)
            self.refuse(name, outside, "expected a path below the data set's folder with forward slashes")

    def refuse(self, column: str, wrong: pd.Series, reason: str) -> None:
        """Raises a DataError that names the first line where `wrong` is true."""
        if not wrong.any():
            return
        row = int(np.flatnonzero(wrong.to_numpy())[0])
        line, value = self.text["line"].iloc[row], self.text[column].iloc[row]
        raise DataError(f"Data set {self.dataset!r}: line {line} of {self.path} has {column} {value!r}, {reason}.")

    def values(self, column: str) -> list[Any]:
        """The values of a column as the record table holds them; an empty field is unknown."""
        empty = COLUMNS[column]
        return [type(empty)(value) if value else empty for value in self.text[column]]


def _check_header(path: Path, dataset: str, header: list[str], required: Collection[str]) -> None:
    for name in header:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; rename or remove it."
            raise DataError(
                f"Data set {dataset!r}: {path} has the unknown column {name!r}, known are {', '.join(_KNOWN)}{hint}"
            )
    if missing := [name for name in required if name not in header]:
        raise DataError(
            f"Data set {dataset!r}: {path} lacks the column {missing[0]!r}, found {', '.join(header)}; add it."
        )
    if len(set(header)) < len(header):
        raise DataError(f"Data set {dataset!r}: {path} has a column twice: {', '.join(header)}; remove one.")


def _is_absolute(path: str) -> bool:
    return "\\" in path or PurePosixPath(path).is_absolute() or (len(path) > 1 and path[1] == ":")
