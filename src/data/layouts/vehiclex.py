"""VehicleX: rendered vehicles for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from src.data.layouts.label_xml import item_number, read_items
from src.data.layouts.list_files import files_are_expected, find_files, require_folder
from src.data.table import DataError, make_table

#: colorID and typeID are 0-based indices into these; those of VeRi-776, which come first, are 1-based there.
COLOURS = (
    *("yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black"),
    *("purple", "pink"),
)
TYPES = (
    *("sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate"),
    *("sportscar", "RV"),
)
_FOLDERS = ("image_train", "sys_image_train")


@dataclass(frozen=True)
class VehicleX:
    """VehicleX (Yao et al., "Simulating Content Consistent Vehicle Datasets with Attribute Descent", ECCV 2020).

    As the AI City Challenges of 2020 and 2021 hand it out (`AIC20_ReID_Simulation`, `AIC21_Track2_ReID_Simulation`):
    one folder of images, described by `train_label.xml`. Vehicle and camera are taken from there: the names have them
    too, but with four digits or five. Orientation and light are in the file as well; no method here uses them, so they
    have no column. All images are for training.

    Attributes:
        root: Folder of the data set.
        name: Name of the data set.
        folder: Folder of the images below root; None takes `image_train` or `sys_image_train`. `sys_image_train_tr`, in
            the set of 2021, holds the same images in the style of CityFlow.
        first_ids: Take only the vehicles with the lowest numbers, so many; None takes all.
    """

    root: Path | str
    name: str
    folder: str | None = None
    first_ids: int | None = None
    provides: ClassVar[frozenset[str]] = frozenset({"camera_id", "colour", "type"})

    def __post_init__(self) -> None:
        if self.first_ids is not None and self.first_ids < 1:
            raise DataError(
                f"Data set {self.name!r}: first_ids is {self.first_ids}, expected at least 1, or null for all."
            )

    def read(self) -> pd.DataFrame:
        """Reads the label file.

        Returns:
            The record table, in the order of the file.

        Raises:
            DataError: If the folder, the label file or an image is missing, or the file is malformed.
        """
        require_folder(Path(self.root), self.name, f"{' or '.join(_FOLDERS)}, and train_label.xml")
        folder = self._image_folder()
        file = Path(self.root) / "train_label.xml"
        items = [(item_number(file, self.name, item, "vehicleID"), item) for item in read_items(file, self.name)]
        taken = set(sorted({vehicle for vehicle, _ in items})[: self.first_ids])
        items = [(vehicle, item) for vehicle, item in items if vehicle in taken]
        colours, types = ({str(number): name for number, name in enumerate(names)} for names in (COLOURS, TYPES))
        paths = find_files(Path(self.root), [f"{folder}/{item['imageName']}" for _, item in items], self.name)
        columns = {
            "path": paths,
            "split": "train",
            "vehicle_id": [vehicle for vehicle, _ in items],
            "camera_id": [item_number(file, self.name, item, "cameraID") for _, item in items],
            "colour": [colours.get(item.get("colorID", ""), "") for _, item in items],
            "type": [types.get(item.get("typeID", ""), "") for _, item in items],
        }
        return make_table(self.root, self.name, columns)

    def _image_folder(self) -> str:
        names = _FOLDERS if self.folder is None else (self.folder,)
        found = [name for name in names if (Path(self.root) / name).is_dir()]
        if not found and not files_are_expected():
            return names[0]
        if not found:
            raise DataError(
                f"Data set {self.name!r}: {self.root} has no folder {' or '.join(names)}; unpack the data set "
                "completely, or name the folder of the images with data.layout.folder=<folder>."
            )
        return found[0]
