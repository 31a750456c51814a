"""Side data: labels made elsewhere, added to the images of any data set."""

from pathlib import Path

import pandas as pd

from src.data.layouts.csv_file import CSVFile
from src.data.layouts.list_files import find_files
from src.data.table import DataError, known


def add_extra(table: pd.DataFrame, path: Path | str, dataset: str) -> pd.DataFrame:
    """Fills columns of a record table from a CSV file.

    The file (UTF-8, commas, a header line) has a column `path`, as in the record table, and any other column of it:
    camera_id, track_id, timestamp, domain, colour, type, box, mask, vehicle_id, split. A field replaces what the data
    set says, an empty one leaves it. An image with several rows gets the same value in all of them.

    Args:
        table: The record table of one data set.
        path: The file.
        dataset: Name of the data set, for messages.

    Returns:
        The table with the new values.

    Raises:
        DataError: If the file is missing or malformed, names an image that is not in the table or names one twice, a
            mask is missing, or a training image would show no known vehicle.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"Data set {dataset!r}: data.extra is {path}, expected a CSV file with a line an image.")
    extra = CSVFile.read(path, dataset, required=("path",))
    extra.check_values(may_be_empty=("vehicle_id", "split"))
    text = extra.text
    extra.refuse("path", text["path"].duplicated(), "which an earlier line has too; list each image once")
    unknown = text.loc[~text["path"].isin(table["path"]), "path"].tolist()
    if unknown:
        shown = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        raise DataError(
            f"Data set {dataset!r}: {len(unknown)} of {len(text)} paths in {path} are not among its images ({shown}); "
            f"write them as they lie below {table['root'].iloc[0]}, with forward slashes."
        )
    if "mask" in extra.columns:
        masks = text.loc[text["mask"] != "", "mask"].tolist()
        find_files(Path(table["root"].iloc[0]), masks, dataset, any_case=False)
    named = table["path"].isin(text["path"])
    _refuse_several_vehicles(table[named], path, dataset)
    filled = table.copy()
    for name in extra.columns:
        given = {
            image: value
            for image, field, value in zip(text["path"], text[name], extra.values(name), strict=True)
            if field
        }
        values = [given.get(image, value) for image, value in zip(table["path"], table[name], strict=True)]
        filled[name] = pd.Series(values, index=table.index, dtype=table[name].dtype)
    nobody = named & (filled["split"] == "train") & ~known(filled, "vehicle_id")
    if nobody.any():
        raise DataError(
            f"Data set {dataset!r}: {path} makes {nobody.sum()} images of unknown vehicles training images, "
            f"{filled.loc[nobody, 'path'].iloc[0]} among them; give them a vehicle_id or another split."
        )
    return filled


def _refuse_several_vehicles(rows: pd.DataFrame, path: Path, dataset: str) -> None:
    """A path does not say which vehicle is meant where an image shows several."""
    boxes = rows.groupby("path")["box"].nunique()
    if (several := boxes.index[boxes > 1]).size:
        raise DataError(
            f"Data set {dataset!r}: {path} names {several[0]}, which shows {boxes[several[0]]} vehicles in a box each; "
            "put the labels of such images into the data set's own file."
        )
