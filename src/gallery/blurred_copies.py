"""Copies of a gallery's pictures without plates and faces: what is embedded, shown and kept."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data import DataError, image_path, read_image
from src.data.blurring import blurred
from src.data.layouts.csv_file import CSVFile
from src.runtime.errors import ConfigError
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)

Boxes = Sequence[tuple[float, float, float, float]]
Find = Callable[[str, NDArray[np.uint8]], Boxes]
"""Boxes in a picture, by its path in its list and its pixels."""
_COPIES = "images"


def boxes_of(file: Path) -> Find:
    """Boxes from a CSV file with the columns path and box, `x1 y1 x2 y2` in pixels, a line a box.

    Args:
        file: The file; of a picture that it does not name, nothing is blurred.

    Raises:
        ConfigError: If it is missing.
        DataError: If it is wrong.
    """
    if not file.is_file():
        raise ConfigError(f"blur={file} is no file; pass a CSV file of path and box, or an ONNX detector.")
    records = CSVFile.read(file, file.stem, required=("path", "box"))
    records.check_values(may_be_empty=("vehicle_id", "split"))
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for path, box in zip(records.values("path"), records.values("box"), strict=True):
        if box:
            x1, y1, x2, y2 = (float(side) for side in box.split())
            found.setdefault(str(path), []).append((x1, y1, x2, y2))
    return lambda path, _: found.get(path, [])


def blurred_copies(table: pd.DataFrame, find: Find, said: Path, folder: Path) -> pd.DataFrame:
    """Writes copies of pictures with parts of them blurred, without loss otherwise, and returns their records.

    A copy that is younger than its picture and what said the boxes is kept. What cannot be read is left to the
    embedding, which names it.

    Args:
        table: Records of pictures.
        find: What to blur.
        said: The file that says so.
        folder: Of the gallery.

    Raises:
        OSError: If a copy cannot be written.
    """
    table, count, done = table.copy(), 0, set()
    root = (folder / _COPIES).resolve()
    for row in range(len(table)):
        source = image_path(table, row)
        # Lists of other folders may have pictures of the same name.
        copy = root / f"{source.relative_to(source.anchor).as_posix()}.png"
        if copy not in done:
            try:
                newest = max(source.stat().st_mtime_ns, said.stat().st_mtime_ns)
                image = None if copy.is_file() and copy.stat().st_mtime_ns > newest else read_image(source)
            except (OSError, DataError):
                continue
            if image is not None:
                boxes = find(str(table.loc[row, "path"]), image)
                count += len(boxes)
                pixels = cv2.cvtColor(blurred(image, boxes), cv2.COLOR_RGB2BGR)
                write_atomically(copy, cv2.imencode(".png", pixels)[1].tobytes())
            done.add(copy)
        table.loc[row, ["root", "path", "mask"]] = [str(root), copy.relative_to(root).as_posix(), ""]
    unread = len(table) - int((table["root"] == str(root)).sum())
    kept = table[table["root"] == str(root)].reset_index(drop=True)
    if unread:
        log.warning("%d images cannot be read, have no blurred copy and are left out.", unread)
    if kept.empty:
        raise DataError(f"None of the {len(table)} images can be read.")
    log.info("%d boxes were blurred in new copies of %d images: %s", count, len(done), root)
    return kept


def forget_copies(folder: Path, gone: pd.DataFrame, left: pd.DataFrame) -> None:
    """Deletes the copies of pictures that a gallery has no more.

    Args:
        folder: Of the gallery.
        gone: Records that left it.
        left: Records that it has.
    """
    root = (folder / _COPIES).resolve()
    ours = gone.loc[gone["root"] == str(root), "path"]
    for path in set(ours) - set(left.loc[left["root"] == str(root), "path"]):
        (root / path).unlink(missing_ok=True)
