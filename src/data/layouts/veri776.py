"""VeRi-776 as its authors distribute it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data.layouts.label_xml import item_number, read_items
from src.data.layouts.list_files import files_in, find_files, fullest_tracks, read_lines, require_folder, with_ending
from src.data.table import DataError, make_table

#: colorID and typeID are 1-based indices into these.
COLOURS = ("yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black")
TYPES = ("sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate")
_SPLITS = {"train": "train", "query": "query", "test": "gallery"}  # the files' word for it → ours
_NAME = re.compile(r"(-?\d+)_c(\d+)_(\d+)_(\d+)")


class _Label(NamedTuple):
    """Labels of an image in an XML file; colour and type are their numbers as text, empty if unknown."""

    vehicle: int
    camera: int
    colour: str
    type: str


class Relevance(NamedTuple):
    """The authors' ground truth: for each query, in order, the gallery rows of the table that are right or junk."""

    good: list[NDArray[np.int64]]
    junk: list[NDArray[np.int64]]


@dataclass(frozen=True)
class VeRi776:
    """VeRi-776 (Liu et al., "A Deep Learning-based Approach to Progressive Vehicle Re-identification", ECCV 2016).

    Folders `image_{train,query,test}`, listed in `name_{train,query,test}.txt`; `{train,test}_label.xml` give vehicle,
    camera, colour and type (some copies lack one: names then give vehicle and camera). An image name
    `0002_c002_00030600_0.jpg` is vehicle, camera, time in frames, and a running number. Test images belong to tracks,
    numbered by their line in `test_track.txt` from 0; training images have none. Masks are read from
    `masks/<image folder>/<image>.png` if they are there. Views are the numbers at the ends of the lines of
    `keypoint_{train,test}.txt` (Wang et al., "Orientation Invariant Feature Embedding", ICCV 2017, as
    https://github.com/Zhongdao/VehicleReIDKeyPointData has them), if those are there. The gallery contains a copy of
    each query image.

    Attributes:
        root: Folder of the data set.
        name: Name of the data set.
    """

    root: Path | str
    name: str
    provides: ClassVar[frozenset[str]] = frozenset(
        {"camera_id", "track_id", "timestamp", "colour", "type", "view", "mask"}
    )

    def read(self) -> pd.DataFrame:
        """Reads lists, labels and tracks.

        Returns:
            The record table: first the training images, then queries, then gallery, each in the order of its list.

        Raises:
            DataError: If the folder, a list or an image is missing, or a file is malformed.
        """
        require_folder(Path(self.root), self.name, "image_train, image_query, image_test and name_*.txt")
        labels = self._labels("train_label.xml") | self._labels("test_label.xml")
        colours, types = self._names("list_color.txt", COLOURS), self._names("list_type.txt", TYPES)
        tracks, views = self._tracks(), self._views()
        records: list[tuple[Any, ...]] = []
        for part, split in _SPLITS.items():
            folder = f"image_{part}"
            masks = files_in(Path(self.root) / "masks" / folder)
            for image in map(with_ending, filter(None, read_lines(Path(self.root) / f"name_{part}.txt", self.name))):
                vehicle, camera, time = self._parse_name(image)
                label = labels.get(image, _Label(vehicle, camera, "", ""))
                track = -1 if split == "train" else tracks.get(image, -1)
                mask = f"{image.rpartition('.')[0]}.png"
                mask = f"masks/{folder}/{mask}" if mask in masks else ""
                colour, kind = colours.get(label.colour, ""), types.get(label.type, "")
                path = f"{folder}/{image}"
                view = views.get(image, "")
                records.append((path, split, label.vehicle, label.camera, time, track, colour, kind, view, mask))
        names = ("path", "split", "vehicle_id", "camera_id", "timestamp", "track_id", "colour", "type", "view", "mask")
        columns = {name: [record[place] for record in records] for place, name in enumerate(names)}
        columns["path"] = find_files(Path(self.root), columns["path"], self.name)
        return make_table(self.root, self.name, columns)

    def camera_distances(self) -> pd.DataFrame | None:
        """Road distances between the cameras in metres.

        Returns:
            The symmetric matrix with the cameras' numbers, from 1, as index and columns, or None if there is no
            `camera_Dist.txt`.

        Raises:
            DataError: If the file holds no square matrix of numbers.
        """
        file = Path(self.root) / "camera_Dist.txt"
        if not file.is_file():
            return None
        rows = [line.replace(",", " ").split() for line in read_lines(file, self.name) if line]
        if any(len(row) != len(rows) for row in rows):
            raise DataError(
                f"Data set {self.name!r}: {file} is no square matrix: its {len(rows)} lines differ from it."
            )
        try:
            triangle = np.array(rows, dtype=np.float64)
        except ValueError as error:
            raise DataError(f"Data set {self.name!r}: {file} holds something else than numbers ({error}).") from error
        cameras = range(1, len(rows) + 1)
        # The file holds one triangle, the other is zero.
        return pd.DataFrame(np.maximum(triangle, triangle.T), index=cameras, columns=cameras)

    def relevance(self, table: pd.DataFrame) -> Relevance | None:
        """The authors' lists of right and junk gallery images, which the evaluation rules must reproduce.

        Args:
            table: What `read` returned.

        Returns:
            None if the lists are missing, as in some copies.

        Raises:
            DataError: If a list has not one line a query, or names an image that is not in the gallery.
        """
        gallery = table.index[table["split"] == "gallery"].to_numpy()
        n_queries = int((table["split"] == "query").sum())
        names = {path.rpartition("/")[2]: row for path, row in zip(table["path"][gallery], gallery, strict=True)}
        by_number = {str(number): row for number, row in enumerate(gallery, start=1)}
        lists = []
        for kind in ("gt", "jk"):
            by_name, by_index = (Path(self.root) / f"{kind}_{form}.txt" for form in ("image", "index"))
            file, rows = (by_name, names) if by_name.is_file() else (by_index, by_number)
            if not file.is_file():
                return None
            lists.append(self._row_lists(file, rows, n_queries))
        return Relevance(*lists)

    def _row_lists(self, file: Path, rows: dict[str, int], n_queries: int) -> list[NDArray[np.int64]]:
        lines = [line.split() for line in read_lines(file, self.name)]
        if len(lines) != n_queries:
            raise DataError(
                f"Data set {self.name!r}: {file} has {len(lines)} lines, expected one a query: {n_queries}."
            )
        if unknown := [entry for line in lines for entry in line if entry not in rows]:
            raise DataError(f"Data set {self.name!r}: {file} names {unknown[0]!r}, which is not in the gallery.")
        return [np.array([rows[entry] for entry in line], dtype=np.int64) for line in lines]

    def _parse_name(self, image: str) -> tuple[int, int, float]:
        """Vehicle, camera, time."""
        match = _NAME.match(image)
        if match is None:
            raise DataError(
                f"Data set {self.name!r}: the image name {image!r} is not <vehicle>_c<camera>_<time>_<number>.jpg."
            )
        return int(match[1]), int(match[2]), float(match[3])

    def _labels(self, file_name: str) -> dict[str, _Label]:
        """Image name → label; nothing if this copy of the data set lacks the file."""
        file = Path(self.root) / file_name
        if not file.is_file():
            return {}
        return {
            item["imageName"]: _Label(
                item_number(file, self.name, item, "vehicleID"),
                item_number(file, self.name, item, "cameraID"),
                item.get("colorID", ""),
                item.get("typeID", ""),
            )
            for item in read_items(file, self.name)
        }

    def _names(self, file_name: str, default: Sequence[str]) -> dict[str, str]:
        """Number (colorID, typeID) → name, from the data set's own list if it has one."""
        file = Path(self.root) / file_name
        if not file.is_file():
            return {str(number): name for number, name in enumerate(default, start=1)}
        return dict(line.split(maxsplit=1) for line in read_lines(file, self.name) if len(line.split()) > 1)

    def _views(self) -> dict[str, str]:
        """Image name → number of its view, from the files that are there: path, key points, view."""
        views = {}
        for file in (Path(self.root) / f"keypoint_{part}.txt" for part in ("train", "test")):
            for line in filter(None, read_lines(file, self.name)) if file.is_file() else ():
                path, *_, view = [*line.split(), ""] if " " not in line else line.split()
                if not view.removeprefix("-").isdigit():
                    raise DataError(f"Data set {self.name!r}: a line of {file} ends with no view: {line[:60]!r}.")
                views[path.rpartition("/")[2]] = "" if view.startswith("-") else view
        return views

    def _tracks(self) -> Mapping[str, int]:
        """Image name → track; `test_track_VeRi.txt` has the track's own name before the images."""
        files = [Path(self.root) / name for name in ("test_track.txt", "test_track_VeRi.txt")]
        return fullest_tracks({file: self._read_tracks(file) for file in files if file.is_file()}, self.name)

    def _read_tracks(self, file: Path) -> dict[str, int]:
        lines = [line.split() for line in read_lines(file, self.name) if line]
        return {image: track for track, line in enumerate(lines) for image in line if "." in image}
