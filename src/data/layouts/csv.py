"""Your own images: a CSV file with a line an image."""

import csv
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pandas as pd

from src.data.layouts.files import check_files, require_folder
from src.data.table import COLUMNS, DOMAINS, SPLITS, DataError, make_table

_REQUIRED = ("path", "vehicle_id", "split")
_OPTIONAL = tuple(name for name in COLUMNS if name not in {*_REQUIRED, "root", "dataset"})
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


@dataclass(frozen=True)
class CSV:
    """Your own images, described by one CSV file (UTF-8, comma-separated, a header line).

    Required columns are `path` (below root, with forward slashes), `vehicle_id` and `split` (train, query, gallery, or
    test for an image that is both query and gallery). Optional ones are `camera_id`, `track_id`, `timestamp`, `domain`
    (day or night), `colour`, `type`, `box` (`x1 y1 x2 y2`, 0-based pixels, right and bottom exclusive) and `mask`
    (path of a picture below root that is bright where the vehicle is). An empty field means unknown.

    Attributes:
        root: Folder of the images.
        name: Name of the data set.
        file: The CSV file, below root.
    """

    root: Path | str
    name: str
    file: str = "table.csv"
    provides: ClassVar[frozenset[str]] = frozenset(_OPTIONAL)

    def read(self) -> pd.DataFrame:
        """Reads the file.

        Returns:
            The record table.

        Raises:
            DataError: If the file or an image is missing, a column is unknown or missing, or a value is malformed.
        """
        root, file = Path(self.root), Path(self.root) / self.file
        require_folder(root, self.name, f"a folder with your images and {self.file}")
        if not file.is_file():
            raise DataError(f"Data set {self.name!r}: {file} is missing, expected a CSV file with a line an image.")
        raw = self._parse(file)
        self._check_values(file, raw)
        for name in [name for name in ("path", "mask") if name in raw]:
            check_files(root, raw.loc[raw[name] != "", name].tolist(), self.name)
        columns = {name: self._convert(raw[name], COLUMNS[name]) for name in raw.columns if name != "line"}
        return make_table(root, self.name, columns)

    def _parse(self, file: Path) -> pd.DataFrame:
        """The fields as text, and in column `line` where each record ends."""
        records = []
        try:
            with file.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.reader(stream, strict=True)
                header = [name.strip() for name in next(reader, [])]
                self._check_header(file, header)
                for fields in reader:
                    if fields and len(fields) != len(header):
                        raise DataError(
                            f"Data set {self.name!r}: line {reader.line_num} of {file} has {len(fields)} fields, "
                            f"expected {len(header)}: {', '.join(header)}."
                        )
                    if fields:
                        records.append((reader.line_num, *map(str.strip, fields)))
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"Data set {self.name!r}: {file} is no UTF-8 CSV file ({error}).") from error
        return pd.DataFrame(records, columns=["line", *header])

    def _check_header(self, file: Path, header: list[str]) -> None:
        for name in header:
            if name not in (*_REQUIRED, *_OPTIONAL):
                near = difflib.get_close_matches(name, [*_REQUIRED, *_OPTIONAL], n=1)
                hint = f"; did you mean {near[0]!r}?" if near else "; rename or remove it."
                raise DataError(
                    f"Data set {self.name!r}: {file} has the unknown column {name!r}, known are "
                    f"{', '.join((*_REQUIRED, *_OPTIONAL))}{hint}"
                )
        if missing := [name for name in _REQUIRED if name not in header]:
            raise DataError(
                f"Data set {self.name!r}: {file} lacks the column {missing[0]!r}, found {', '.join(header)}; add it."
            )
        if len(set(header)) < len(header):
            raise DataError(f"Data set {self.name!r}: {file} has a column twice: {', '.join(header)}; remove one.")

    def _check_values(self, file: Path, raw: pd.DataFrame) -> None:
        for name in raw.columns:
            if name in _FORMATS:
                words, pattern = _FORMATS[name]
                self._refuse(file, raw, name, ~raw[name].str.fullmatch(pattern), f"expected {words}")
        self._refuse(file, raw, "path", raw["path"] == "", "expected the path of an image")
        for name in [name for name in ("path", "mask") if name in raw]:
            outside = raw[name].map(_is_absolute)
            self._refuse(file, raw, name, outside, f"expected a path below {self.root} with forward slashes")
        box = raw.get("box", "")
        twice = (raw["path"] + "\n" + box).duplicated()
        self._refuse(file, raw, "path", twice, "which an earlier line has too; list each image (or box) once")
        nobody = (raw["split"] == "train") & (raw["vehicle_id"].str.startswith("-"))
        self._refuse(file, raw, "vehicle_id", nobody, "but a training image needs to show a known vehicle")

    def _refuse(self, file: Path, raw: pd.DataFrame, column: str, wrong: pd.Series, reason: str) -> None:
        if not wrong.any():
            return
        row = int(np.flatnonzero(wrong.to_numpy())[0])
        line, value = raw["line"].iloc[row], raw[column].iloc[row]
        raise DataError(f"Data set {self.name!r}: line {line} of {file} has {column} {value!r}, {reason}.")

    @staticmethod
    def _convert(values: pd.Series, empty: object) -> object:
        if isinstance(empty, str):
            return values.tolist()
        convert: Callable[[str], object] = type(empty)
        return [convert(value) if value else empty for value in values]


def _is_absolute(path: str) -> bool:
    return "\\" in path or PurePosixPath(path).is_absolute() or (len(path) > 1 and path[1] == ":")
