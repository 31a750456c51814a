"""VERI-Wild, and the test sets of VERI-Wild 2.0."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import pandas as pd

from src.data.layouts.list_files import find_files, read_lines, require_folder, with_ending
from src.data.table import DataError, make_table

TestSet = Literal["All", "A", "B"]
_PROVIDES = frozenset({"camera_id", "timestamp", "colour", "type"})
_FIELDS = ("path", "split", "vehicle_id", "camera_id", "timestamp", "type", "colour")
_TRAIN_LISTS = ("train_list.txt", "train_list_start0.txt")


#: Path below root → vehicle and camera, -1 if the list has none. Tuples, because half a million objects take seconds.
_List = dict[str, tuple[int, int]]
#: Path below root without its ending → camera, time, type, colour.
_Info = dict[str, tuple[int, float, str, str]]


@dataclass(frozen=True)
class VeriWild:
    """VERI-Wild (Lou et al., "A Large Dataset and a New Method for Vehicle Re-Identification in the Wild", CVPR 2019).

    `images/<vehicle>/<image>.jpg`, listed in `train_test_split/`: `train_list.txt`, `test_<vehicles>_query.txt` and for
    the gallery `test_<vehicles>.txt`; or, in newer copies, `train_list_start0.txt`, `test_<vehicles>_id_query.txt` and
    `test_<vehicles>_id.txt`, whose lines have a label and a camera behind the path. The first lists leave `.jpg` away;
    both forms are read. `vehicle_info.txt` gives camera, time (here seconds since 1970 by the cameras' clocks), type
    and colour; where it does not know an image, the camera of the list is taken.

    Attributes:
        root: Folder of the data set, with `images` and `train_test_split`.
        name: Name of the data set.
        test_ids: Which test lists: 3000 (small), 5000 (medium) or 10000 (large) vehicles.
    """

    root: Path | str
    name: str
    test_ids: int = 3000
    provides: ClassVar[frozenset[str]] = _PROVIDES

    def read(self) -> pd.DataFrame:
        """Reads lists and vehicle information.

        Returns:
            The record table: training images, queries, then gallery, each in the order of its list. An image in both
            test lists has one row, with the split `"test"`.

        Raises:
            DataError: If the folder, a list or an image is missing, a line is malformed, an image is listed for
                training and for testing, or there are no cameras, which the data set's rule needs.
        """
        root, test = Path(self.root), f"test_{self.test_ids}"
        require_folder(root, self.name, "the folders images and train_test_split")
        train = _read_list(root, self.name, *_TRAIN_LISTS)
        query = _read_list(root, self.name, f"{test}_query.txt", f"{test}_id_query.txt")
        gallery = _read_list(root, self.name, f"{test}.txt", f"{test}_id.txt")
        table = _make_table(root, self.name, train, query, gallery)
        if (table["camera_id"] == -1).all():
            raise DataError(
                f"Data set {self.name!r}: {root / 'train_test_split' / 'vehicle_info.txt'} is missing and the lists "
                "have no cameras, which the test needs to ignore images of the query's own; copy it from the archive."
            )
        return table


@dataclass(frozen=True)
class VeriWild2:
    """The test sets of VERI-Wild 2.0.

    Bai et al., "Disentangled Feature Learning Network and a Comprehensive Benchmark for Vehicle Re-Identification",
    TPAMI 2021. Folders `query` and `gallery` (images in `query_final`, `gallery_final`), listed in
    `test_split/{All,A,B}_{query,gallery}.txt`: a path, a vehicle and perhaps a camera. The training images are those of
    VERI-Wild, read if its `images` and `train_test_split` lie in the same folder.

    DN-Wild is made of images of these test sets: who trains on it must not report results here.

    Attributes:
        root: Folder of the data set.
        name: Name of the data set.
        test_set: All, A or B.

    Raises:
        DataError: If `test_set` is none of the three.
    """

    root: Path | str
    name: str
    test_set: TestSet = "All"
    provides: ClassVar[frozenset[str]] = _PROVIDES

    def __post_init__(self) -> None:
        if self.test_set not in get_args(TestSet):
            raise DataError(
                f"Data set {self.name!r}: data.layout.test_set is {self.test_set!r}, expected one of "
                f"{', '.join(get_args(TestSet))}."
            )

    def read(self) -> pd.DataFrame:
        """Reads the lists.

        Returns:
            The record table: training images of VERI-Wild if there are any, queries, then gallery.

        Raises:
            DataError: If the folder, a list or an image is missing, or a line is malformed.
        """
        root = Path(self.root)
        require_folder(root, self.name, "the folders query, gallery and test_split")
        train = _read_list(root, self.name, *_TRAIN_LISTS) if (root / "train_test_split").is_dir() else {}
        return _make_table(root, self.name, train, self._read_test("query"), self._read_test("gallery"))

    def _read_test(self, part: str) -> _List:
        file = Path(self.root) / "test_split" / f"{self.test_set}_{part}.txt"
        entries: _List = {}
        for number, line in enumerate(read_lines(file, self.name), start=1):
            path, *labels = line.replace("\\", "/").split() or [""]
            if path and (len(labels) not in (1, 2) or not all(map(str.isdecimal, labels))):
                raise DataError(
                    f"Data set {self.name!r}: line {number} of {file} is {line!r}, expected <path> <vehicle number> "
                    "and perhaps a camera number."
                )
            if path:
                entries[with_ending(path)] = int(labels[0]), int(labels[1]) if len(labels) == 2 else -1
        folder = self._folder(part, next(iter(entries), ""))
        return {folder + path: entry for path, entry in entries.items()}

    def _folder(self, part: str, path: str) -> str:
        """Folder that the paths of a list start in, by the first of them: archives unpack one folder more, or not."""
        folders = (f"{part}/", "", f"{part}/{part}/", f"{part}/{part}_final/", f"{part}/{part}/{part}_final/")
        return next((folder for folder in folders if self._is_there(folder + path)), folders[0])

    def _is_there(self, path: str) -> bool:
        file = Path(self.root) / path
        return file.is_file() or file.with_suffix(file.suffix.upper()).is_file()


def _read_list(root: Path, dataset: str, *names: str) -> _List:
    """A list of images by vehicle, under whichever of its names it is there."""
    folder = root / "train_test_split"
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise DataError(
            f"Data set {dataset!r}: {folder} has no list {' or '.join(names)}; copy it from the data set's archive."
        )
    entries: _List = {}
    for number, line in enumerate(read_lines(file, dataset), start=1):
        if not line:
            continue
        path, *labels = line.replace("\\", "/").split()
        vehicle, slash, _ = path.partition("/")
        if not slash or not vehicle.isdecimal() or len(labels) not in (0, 2) or not all(map(str.isdecimal, labels)):
            raise DataError(
                f"Data set {dataset!r}: line {number} of {file} is {line!r}, expected <vehicle number>/<image> and "
                "perhaps a label and a camera number."
            )
        entries[f"images/{with_ending(path)}"] = int(vehicle), int(labels[1]) if labels else -1
    return entries


def _read_info(root: Path, dataset: str) -> _Info:
    """Contents of `vehicle_info.txt`; nothing if it is missing.

    A line is `<vehicle>/<image>;<camera>;<time>;<model>;<type>;<colour>`; the first is a header.
    """
    file = root / "train_test_split" / "vehicle_info.txt"
    if not file.is_file():
        return {}
    lines = [line.split(";") for line in read_lines(file, dataset)[1:]]
    for number, fields in enumerate(lines, start=2):
        if fields != [""] and (len(fields) < 6 or not fields[1].isdecimal()):
            raise DataError(
                f"Data set {dataset!r}: line {number} of {file} is {';'.join(fields)!r}, expected "
                "<vehicle>/<image>;<camera number>;<time>;<model>;<type>;<colour>."
            )
    rows = [fields for fields in lines if fields != [""]]
    times = pd.to_datetime(pd.Series([row[2] for row in rows], dtype=str), format="mixed", errors="coerce", utc=True)
    seconds = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds().tolist()
    return {
        f"images/{row[0].removesuffix('.jpg')}": (int(row[1]), time, row[4], row[5])
        for row, time in zip(rows, seconds, strict=True)
    }


def _make_table(root: Path, dataset: str, train: _List, query: _List, gallery: _List) -> pd.DataFrame:
    if both := train.keys() & (query.keys() | gallery.keys()):
        raise DataError(
            f"Data set {dataset!r}: {len(both)} images are listed for training and for testing, {min(both)} among "
            f"them; remove them from one of the lists in {root / 'train_test_split'}."
        )
    splits = dict.fromkeys(train, "train") | dict.fromkeys(query, "query")
    splits |= {path: "test" if path in query else "gallery" for path in gallery}
    info = _read_info(root, dataset)
    records = []
    for path, (vehicle, listed_camera) in (train | query | gallery).items():
        unknown = (listed_camera, float("nan"), "", "")
        camera, time, kind, colour = info.get(path.removesuffix(".jpg"), unknown)
        records.append((path, splits[path], vehicle, camera, time, kind, colour))
    columns = {name: [record[place] for record in records] for place, name in enumerate(_FIELDS)}
    paths = find_files(root, [*splits], dataset)
    return make_table(root, dataset, columns | {"path": paths})
