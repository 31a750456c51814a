"""CompCars: pictures of car models from the web, for training only."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from os import scandir
from pathlib import Path
from typing import ClassVar

import pandas as pd

from src.data.layouts.list_files import files_are_expected, files_in, read_lines, require_folder
from src.data.table import DataError, make_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompCars:
    """CompCars' web-nature part.

    Yang et al., "A Large-Scale Car Dataset for Fine-Grained Categorization and Verification", CVPR 2015.
    `image/<make>/<model>/<year>/<name>.jpg` with `label/<make>/<model>/<year>/<name>.txt`: viewpoint, number of boxes
    and a box `x1 y1 x2 y2`, counted from 1, right and bottom inclusive. A "vehicle" is a make, model and year, as in
    VehicleNet (Zheng et al., TMM 2021): 78/1/2014 becomes 78 0001 2014 without the spaces, an unknown year 0000. The
    body type is that of the model in `misc/attributes.txt`, named by `misc/car_type.mat`, if both are there.

    Images without a label file or with an invalid box are left out, and so are listed ones that do not exist; how many
    is logged. VehicleNet leaves out 13 of 136,726.

    Attributes:
        root: Folder with `image` and `label`.
        name: Name of the data set.
        lists: Lists of images below root, such as `train_test_split/classification/train.txt` with lines
            `78/1/2014/3ac218c0c6c378.jpg`; none takes all images there are.
    """

    root: Path | str
    name: str
    lists: Sequence[str] = ()
    provides: ClassVar[frozenset[str]] = frozenset({"type", "box"})

    def read(self) -> pd.DataFrame:
        """Reads the labels of all images, one file each.

        Returns:
            The record table, all of it for training.

        Raises:
            DataError: If a folder or list is missing, a path is not `<make>/<model>/<year>/<image>`, or no image is
                usable.
        """
        for folder in ("image", "label") if files_are_expected() or not self.lists else ("label",):
            require_folder(Path(self.root) / folder, self.name, "<make>/<model>/<year>/ below it")
        listed, types = self._listed(), self._types()
        left_out: Counter[str] = Counter()
        records = []
        names_in = cache(files_in)
        for path in listed:
            make, model, year, image = self._parse(path)
            folder = f"{make}/{model}/{year}"
            label = f"{image.rpartition('.')[0]}.txt"
            if files_are_expected() and image not in names_in(Path(self.root) / "image" / folder):
                left_out["are listed but missing"] += 1
                continue
            if label not in names_in(Path(self.root) / "label" / folder):
                left_out["have no label file"] += 1
                continue
            if not (box := _box(read_lines(Path(self.root) / "label" / folder / label, self.name))):
                left_out["have an invalid box"] += 1
                continue
            vehicle = int(make) * 10**8 + int(model) * 10**4 + (int(year) if year.isdecimal() else 0)
            records.append((f"image/{path}", vehicle, box, types.get(model, "")))
        if left_out:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
            log.warning(
                "Data set %r: %d of %d images are left out: %s.", self.name, left_out.total(), len(listed), reasons
            )
        names = ("path", "vehicle_id", "box", "type")
        columns = {name: [record[place] for record in records] for place, name in enumerate(names)}
        return make_table(self.root, self.name, {**columns, "split": "train"})

    def _listed(self) -> list[str]:
        """Paths below `image`, sorted, each once."""
        if not self.lists:
            return sorted(_images_below(Path(self.root) / "image"))
        lines = [line for name in self.lists for line in read_lines(Path(self.root) / name, self.name) if line]
        return sorted(set(lines))

    def _parse(self, path: str) -> tuple[str, str, str, str]:
        parts = path.split("/")
        if len(parts) != 4 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            raise DataError(
                f"Data set {self.name!r}: {path!r} in {Path(self.root) / 'image'} is not "
                "<make number>/<model number>/<year>/<image>; copy it from the data set's archive."
            )
        make, model, year, image = parts
        return make, model, year, image

    def _types(self) -> dict[str, str]:
        """Model → body type; nothing if this copy of the data set lacks one of the files."""
        misc = Path(self.root) / "misc"
        if not {"attributes.txt", "car_type.mat"} <= files_in(misc):
            return {}
        from scipy.io import loadmat

        try:
            names = [str(name.item()) for name in loadmat(misc / "car_type.mat")["types"].flat]
        except (KeyError, ValueError, TypeError, NotImplementedError) as error:
            log.warning("Data set %r: %s cannot be read (%s); types stay unknown.", self.name, misc, error)
            return {}
        numbers = dict(enumerate(names, start=1))  # 0 is unknown
        lines = [line.split() for line in read_lines(misc / "attributes.txt", self.name)[1:] if line]
        return {line[0]: numbers.get(int(line[-1]), "") for line in lines if line[-1].isdecimal()}


def _box(lines: list[str]) -> str:
    """The box of a label file in our terms, empty if it is invalid."""
    try:
        left, top, right, bottom = map(int, lines[2].split())
    except (IndexError, ValueError):
        return ""
    if not (1 <= left <= right and 1 <= top <= bottom):
        return ""
    return f"{left - 1} {top - 1} {right} {bottom}"


def _images_below(folder: Path) -> list[str]:
    """Paths of the JPEG files below a folder."""
    found = []
    with scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                found += [f"{entry.name}/{path}" for path in _images_below(Path(entry.path))]
            elif entry.name.lower().endswith((".jpg", ".jpeg")):
                found.append(entry.name)
    return found
