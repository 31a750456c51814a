"""Reading a CSV file of ours: a line an image, columns of the record table."""

import csv
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from src.data.table import COLUMNS, DOMAINS, SPLITS, DataError
from src.runtime.errors import did_you_mean

log = logging.getLogger(__name__)

_INTEGER = r"-?\d+"
_LARGEST = 2**63 - 1  # of a column
#: Columns that may hold names instead of numbers, if asked to number them.
_NUMBERED = ("vehicle_id", "camera_id", "track_id")
_SEPARATORS = (",", ";", "\t")  # as spreadsheets write them, by country

_NUMBER_THEM = "; number them, or let data=csv do it with data.layout.number_ids=true"
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
#: Columns of `src.crop` that say where a crop comes from; read over.
ORIGIN = ("time", "frame_box", "score")
_KNOWN = tuple(name for name in COLUMNS if name not in {"root", "dataset"})


@dataclass(frozen=True)
class CSVFile:
    """The fields of a CSV file (UTF-8; separated by commas, semicolons or tabs, as its header line is).

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
                delimiter = separator(stream.readline())
                stream.seek(0)
                reader = csv.reader(stream, strict=True, delimiter=delimiter)
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
        text = pd.DataFrame(records, columns=["line", *header])
        return cls(path, dataset, text.drop(columns=[name for name in ORIGIN if name in header]))

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
                more = _NUMBER_THEM if name in _NUMBERED else ""
                self.refuse(
                    name, wrong & ~((self.text[name] == "") & (name in may_be_empty)), f"expected {words}{more}"
                )
            if name in _NUMBERED:
                large = self.text[name].map(lambda value: value != "" and abs(int(value)) > _LARGEST)
                self.refuse(name, large, f"expected an integer of at most {_LARGEST:,}{_NUMBER_THEM}")
        self.refuse("path", self.text["path"] == "", "expected the path of an image")
        for name in [name for name in ("path", "mask") if name in self.columns]:
            outside = self.text[name].map(_is_absolute)
            self.refuse(name, outside, "expected a path below the data set's folder with forward slashes")

    def numbered(self) -> "CSVFile":
        """The file with numbers for vehicles, cameras and tracks that have names, in the names' order, from 0.

        A column of integers stays as it is; of others every value gets a number but nothing and -1, which say that it
        is unknown. Alike for alike files, and different when a name is added.
        """
        text = self.text.copy()
        for name in (name for name in _NUMBERED if name in text):
            values = text[name]
            if values.map(_is_integer).all():
                continue
            names = sorted(set(values) - {"", "-1"})
            numbers = {value: str(number) for number, value in enumerate(names)} | {"-1": "-1"}
            text[name] = values.map(lambda value, numbers=numbers: numbers.get(value, ""))
            shown = ", ".join(f"{value} is {number}" for number, value in enumerate(names[:3]))
            log.info("%s: %d names in column %s got numbers: %s, …", self.path, len(names), name, shown)
        return replace(self, text=text)

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


def separator(header: str) -> str:
    """Separator of the fields of a CSV file, by its header line, none of whose names has one of them in it.

    >>> separator("path;vehicle_id;split")
    ';'
    """
    return max(_SEPARATORS, key=header.count)


def _is_integer(value: str) -> bool:
    return value == "" or (re.fullmatch(_INTEGER, value) is not None and abs(int(value)) <= _LARGEST)


def _check_header(path: Path, dataset: str, header: list[str], required: Collection[str]) -> None:
    for name in header:
        if name not in (*_KNOWN, *ORIGIN):
            hint = did_you_mean(name, _KNOWN, "; rename or remove it.")
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
