"""Your own images: a CSV file with a line an image."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from src.data.layouts.csv_file import CSVFile
from src.data.layouts.list_files import find_files, require_folder
from src.data.table import COLUMNS, DataError, make_table

_REQUIRED = ("path", "vehicle_id", "split")
_OPTIONAL = tuple(name for name in COLUMNS if name not in {*_REQUIRED, "root", "dataset"})


@dataclass(frozen=True)
class CSV:
    """Your own images, described by one CSV file (UTF-8, a header line; commas, semicolons or tabs).

    Required columns are `path` (below root, with forward slashes), `vehicle_id` and `split` (train, query, gallery, or
    test for an image that is both query and gallery). Optional ones are `camera_id`, `track_id`, `timestamp`, `domain`
    (day or night), `colour`, `type`, `box` (`x1 y1 x2 y2`, 0-based pixels, right and bottom exclusive) and `mask`
    (path of a picture below root that is bright where the vehicle is). An empty field means unknown.

    Attributes:
        root: Folder of the images.
        name: Name of the data set.
        file: The CSV file, below root.
        number_ids: Whether `vehicle_id`, `camera_id` and `track_id` may hold names, which are numbered in their order.
    """

    root: Path | str
    name: str
    file: str = "table.csv"
    number_ids: bool = False
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
        records = CSVFile.read(file, self.name, required=_REQUIRED)
        if self.number_ids:
            records = records.numbered()
        records.check_values()
        text = records.text
        twice = (text["path"] + "\n" + text.get("box", "")).duplicated()
        records.refuse("path", twice, "which an earlier line has too; list each image (or box) once")
        nobody = (text["split"] == "train") & (text["vehicle_id"].str.startswith("-"))
        records.refuse("vehicle_id", nobody, "but a training image needs to show a known vehicle")
        for name in [name for name in ("path", "mask") if name in text]:
            find_files(root, text.loc[text[name] != "", name].tolist(), self.name, any_case=False)
        return make_table(root, self.name, {name: records.values(name) for name in records.columns})
