"""DN-348 and DN-Wild: day and night pictures of vehicles, without cameras."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from src.data.layouts.list_files import find_files, read_lines, require_folder, with_ending
from src.data.table import DOMAINS, DataError, make_table

#: How the lists are called: by the authors, in USL-DN-ReID's code for DN-Wild, and in its README.
_LIST_NAMES = ("{split}_list_{domain}.txt", "{domain}_{split}.txt", "{split}_{domain}.txt")


@dataclass(frozen=True)
class DayNight:
    """DN-348 and DN-Wild (Li et al., "Day-Night Cross-domain Vehicle Re-identification", CVPR 2024).

    `<root>/{day,night}/<id>/<number>.jpg` with lists in `<root>/train_test_split/`: a training and a test list for
    each domain and, in DN-Wild only, a query list. The lists have three namings, and one of them comes with folders
    `{train,test}_{day,night}`: all are read. A line is a path below the folder of its domain, its first folder the
    vehicle; more fields may follow after a space. An image listed twice counts once.

    Where there is a query list, its images are queries and all test images are gallery; otherwise every test image is
    both.

    Attributes:
        root: Folder of the data set.
        name: Name of the data set.
    """

    root: Path | str
    name: str
    provides: ClassVar[frozenset[str]] = frozenset({"domain"})

    def read(self) -> pd.DataFrame:
        """Reads the lists.

        Returns:
            The record table.

        Raises:
            DataError: If the folder, a list or an image is missing, a line has no vehicle number, or an image is
                listed for training and for testing.
        """
        require_folder(Path(self.root), self.name, "the folders day, night and train_test_split")
        records: dict[str, tuple[int, str, str]] = {}
        for domain in DOMAINS:
            test = self._read_list("test", domain)
            query = self._read_list("query", domain, required=False)
            splits = dict.fromkeys(test, "gallery" if query else "test")
            splits |= {path: "test" if path in splits else "query" for path in query}
            train = self._read_list("train", domain)
            if both := splits.keys() & train:
                raise DataError(
                    f"Data set {self.name!r}: {len(both)} {domain} images are listed for training and for testing, "
                    f"{min(both)} among them; remove them from one of the lists in {self._lists}."
                )
            splits |= dict.fromkeys(train, "train")
            vehicles = train | test | query
            records |= {path: (vehicles[path], domain, split) for path, split in splits.items()}
        paths = find_files(Path(self.root), list(records), self.name)
        columns = {
            "path": paths,
            "vehicle_id": [vehicle for vehicle, _, _ in records.values()],
            "domain": [domain for _, domain, _ in records.values()],
            "split": [split for _, _, split in records.values()],
        }
        return make_table(self.root, self.name, columns)

    @property
    def _lists(self) -> Path:
        return Path(self.root) / "train_test_split"

    def _read_list(self, split: str, domain: str, required: bool = True) -> dict[str, int]:
        """Path below root → vehicle, in the order of the list."""
        names = [pattern.format(split=split, domain=domain) for pattern in _LIST_NAMES]
        found = [self._lists / name for name in names if (self._lists / name).is_file()]
        if not found:
            if not required:
                return {}
            raise DataError(
                f"Data set {self.name!r}: {self._lists} has no {split} list for {domain}, expected one of "
                f"{', '.join(names)}; copy it from the data set's archive."
            )
        folder = self._folder(split, domain)
        return {f"{folder}/{path}": vehicle for path, vehicle in self._parse(found[0])}

    def _folder(self, split: str, domain: str) -> str:
        by_split = f"{'train' if split == 'train' else 'test'}_{domain}"
        return by_split if (Path(self.root) / by_split).is_dir() else domain

    def _parse(self, file: Path) -> Iterable[tuple[str, int]]:
        for number, line in enumerate(read_lines(file, self.name), start=1):
            if not line:
                continue
            path = line.split(maxsplit=1)[0].replace("\\", "/")
            vehicle, slash, _ = path.partition("/")
            if not slash or not vehicle.isdecimal():
                raise DataError(
                    f"Data set {self.name!r}: line {number} of {file} is {line!r}, expected <vehicle number>/<image>."
                )
            yield with_ending(path), int(vehicle)
