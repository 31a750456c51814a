"""VehicleID as its authors distribute it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from src.data.layouts.list_files import find_files, read_lines, require_folder, with_ending
from src.data.table import DataError, make_table

#: The colours by their number, for copies without `color_names.txt`.
COLOURS = ("black", "blue", "gray", "red", "silver", "white", "yellow")


@dataclass(frozen=True)
class VehicleID:
    """VehicleID (Liu et al., "Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles", 2016).

    `image/<number>.jpg`, listed in `train_test_split/train_list.txt` and `test_list_<vehicles>.txt` (in some copies
    `test_<vehicles>.txt`), a line an image: its number and its vehicle. Some copies have JSON lists instead: an object
    of images and their vehicles, or of vehicles and lists of their images, or a list of such pairs. Numbers may come
    with `.jpg`. The test lists overlap, so one of them is read.
    Which of its images are gallery is drawn by the task: all of them get the split `"test"`.

    `attribute/{color,model}_attr.txt` give colour and model (column `type`) of some vehicles, the others have none. The
    names are in `color_names.txt` and `model_names.txt`, the models' in Chinese. There are no cameras and no times.

    Attributes:
        root: Folder of the data set.
        name: Name of the data set.
        test_ids: Which test list: 800 (small), 1600 (medium), 2400 (large), 3200, 6000 or 13164 vehicles.
    """

    root: Path | str
    name: str
    test_ids: int = 800
    provides: ClassVar[frozenset[str]] = frozenset({"colour", "type"})

    def read(self) -> pd.DataFrame:
        """Reads lists and attributes.

        Returns:
            The record table: first the training images, then the test images, each in the order of its list. An image
            listed twice counts once.

        Raises:
            DataError: If the folder, a list or an image is missing, or a line is malformed.
        """
        require_folder(Path(self.root), self.name, "the folders image and train_test_split")
        train = self._vehicles("train_list")
        test = self._vehicles(f"test_list_{self.test_ids}", f"test_{self.test_ids}")
        paths = find_files(Path(self.root), [f"image/{image}" for image in (*train, *test)], self.name)
        vehicles = [*train.values(), *test.values()]
        columns = {
            "path": paths,
            "split": ["train"] * len(train) + ["test"] * len(test),
            "vehicle_id": vehicles,
        }
        for column, word, default in (("colour", "color", COLOURS), ("type", "model", ())):
            names = self._attribute(word, default)
            columns[column] = [names.get(vehicle, "") for vehicle in vehicles]
        return make_table(self.root, self.name, columns)

    def _vehicles(self, *stems: str) -> dict[str, int]:
        """Image name → vehicle, of a list under whichever of its names it is there."""
        file = self._list(*stems)
        pairs = self._pairs(file) if file.suffix == ".txt" else self._pairs_of_json(file)
        return {with_ending(image): vehicle for image, vehicle in pairs}

    def _list(self, *stems: str) -> Path:
        folder = Path(self.root) / "train_test_split"
        names = [f"{stem}{ending}" for ending in (".txt", ".json") for stem in stems]
        found = [folder / name for name in names if (folder / name).is_file()]
        if not found:
            there = sorted(file.name for file in (*folder.glob("*.txt"), *folder.glob("*.json")))
            raise DataError(
                f"Data set {self.name!r}: {folder} has no {' or '.join(names[: len(stems)])}, found "
                f"{', '.join(there) or 'no list'}; "
                "copy it from the data set's archive, or choose another test list with data.layout.test_ids=<vehicles>."
            )
        return found[0]

    def _pairs(self, file: Path) -> list[tuple[str, int]]:
        """Text before each number at the end of a line: image → vehicle, or vehicle → attribute."""
        pairs = []
        for number, line in enumerate(read_lines(file, self.name), start=1):
            fields = line.split()
            if not fields:
                continue
            if len(fields) != 2 or not (_number(fields[0]) and fields[1].isdecimal()):
                raise DataError(
                    f"Data set {self.name!r}: line {number} of {file} is {line!r}, expected two numbers: an image and "
                    "its vehicle, or a vehicle and its attribute."
                )
            pairs.append((fields[0], int(fields[1])))
        return pairs

    def _pairs_of_json(self, file: Path) -> list[tuple[str, int]]:
        """Image → vehicle."""
        try:
            content: Any = json.loads("\n".join(read_lines(file, self.name)))
        except ValueError as error:
            raise DataError(f"Data set {self.name!r}: {file} is no JSON ({error}).") from error
        listed = [*content.items()] if isinstance(content, dict) else content
        pairs = []
        for pair in listed if isinstance(listed, list) else [listed]:
            first, second = pair if isinstance(pair, list | tuple) and len(pair) == 2 else (pair, None)
            # Vehicle and its images, or image and its vehicle.
            for image, vehicle in [(one, first) for one in second] if isinstance(second, list) else [(first, second)]:
                if not (_number(str(image)) and str(vehicle).isdecimal()):
                    raise DataError(
                        f"Data set {self.name!r}: {file} holds {pair!r}, expected an image and its vehicle, or a "
                        "vehicle and a list of its images, all of them numbers."
                    )
                pairs.append((str(image), int(str(vehicle))))
        return pairs

    def _attribute(self, word: str, default: tuple[str, ...]) -> dict[int, str]:
        """Vehicle → name of its colour or model; nothing if this copy of the data set lacks the file."""
        file = Path(self.root) / "attribute" / f"{word}_attr.txt"
        if not file.is_file():
            return {}
        names = self._names(file.with_name(f"{word}_names.txt")) or dict(enumerate(default))
        return {int(vehicle): names.get(number, str(number)) for vehicle, number in self._pairs(file)}

    def _names(self, file: Path) -> dict[int, str]:
        """Number → name. A line is a name with its number before or behind it, or the name only, from number 0 on.

        A model's name may itself begin or end with a number (a year): only a column that counts from 0 is one.
        """
        if not file.is_file():
            return {}
        lines = [line for line in read_lines(file, self.name) if line]
        counted = {str(number) for number in range(len(lines))}
        several = [line for line in lines if len(line.split()) > 1]
        before = dict(line.split(maxsplit=1) for line in several)
        behind = dict(line.rsplit(maxsplit=1)[::-1] for line in several)
        for names in (before, behind):
            if names.keys() == counted:
                return {int(number): name for number, name in names.items()}
        return dict(enumerate(lines))


def _number(image: str) -> bool:
    """Whether it is the number of an image, with or without `.jpg`."""
    return image.removesuffix(".jpg").isdecimal()
