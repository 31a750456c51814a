"""CityFlow: the vehicle re-identification track of the AI City Challenges of 2020 and 2021."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import pandas as pd

from src.data.layouts.label_xml import item_number, read_items
from src.data.layouts.list_files import files_in, find_files, fullest_tracks, read_lines, require_folder, with_ending
from src.data.table import DataError, make_table

log = logging.getLogger(__name__)

Split = Literal["official", "hold_out", "vehiclenet"]
_COLUMNS = ("path", "split", "vehicle_id", "camera_id", "track_id")
_PROBES = 3
_LAST_TRAINING_ID = 400


@dataclass(frozen=True)
class CityFlow:
    """CityFlow as the AI City Challenges of 2020 (666 vehicles) and 2021 (V2, 880) hand it out.

    Tang et al., "CityFlow: A City-Scale Benchmark for Multi-Target Multi-Camera Vehicle Tracking and
    Re-Identification", CVPR 2019. Folders `image_{train,query,test}`, listed in `name_{train,query,test}.txt` (2020) or
    in `{train,query,test}_label.xml` (2021), else taken as found. `train_label.xml` gives vehicle and camera; those of
    2021's query and test images give cameras only. Tracks, one a line, are in `{train,test}_track.txt` (image names) or
    `*_track_id.txt` (image numbers); where both are there and differ, the fuller one counts: the copy of 2019 lacks the
    last image of every track in `train_track.txt`. There are no times.

    The vehicles of query and test images are hidden: with `split="official"` their `vehicle_id` is -1, and results come
    from the challenge's server only. The other splits hold out vehicles of the training set:

    - `"hold_out"`: He et al. ("Multi-Domain Learning and Identity Mining for Vehicle Re-Identification", CVPRW 2020)
      train on 233 vehicles and test on 100, with 3 probes a vehicle; its other images are the gallery. They do not say
      which, so vehicles and probes are drawn here, by `seed`, alike on all machines.
    - `"vehiclenet"`: Zheng et al. ("VehicleNet", TMM 2021) train on 255 vehicles and search for the other 78 in all
      36,935 training images. Their code trains on the numbers up to 400 and takes one query of each vehicle and camera,
      463; here it is the first in the list. Every training image of the 255 vehicles has two rows: one in the training
      split and one in the gallery.

    Attributes:
        root: Folder of the data set.
        name: Name of the data set.
        split: Which images are for what, see above.
        held_out: Number of vehicles that `"hold_out"` tests on.
        seed: Of the drawing of `"hold_out"`.

    Raises:
        DataError: If `split` is none of the three.
    """

    root: Path | str
    name: str
    split: Split = "official"
    held_out: int = 100
    seed: int = 0
    provides: ClassVar[frozenset[str]] = frozenset({"camera_id", "track_id"})

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise DataError(
                f"Data set {self.name!r}: data.layout.split is {self.split!r}, expected one of "
                f"{', '.join(get_args(Split))}."
            )

    def read(self) -> pd.DataFrame:
        """Reads lists, labels and tracks.

        Returns:
            The record table: first the training images, then queries, then gallery, each by image number, so that the
            first row of the gallery is image 1 of a submission.

        Raises:
            DataError: If the folder, a file or an image is missing, a file is malformed, or there are too few vehicles
                to hold out.
        """
        require_folder(Path(self.root), self.name, "image_train, image_query, image_test and train_label.xml")
        train = self._part("train", "train")
        if self.split == "hold_out":
            records = self._hold_out(train)
        elif self.split == "vehiclenet":
            records = self._vehiclenet(train)
        else:
            test = self._part("test", "gallery")
            test["track_id"] += (test["track_id"] >= 0) * (train["track_id"].max() + 1)
            records = pd.concat([train, self._part("query", "query"), test])
        records["path"] = find_files(Path(self.root), records["path"].tolist(), self.name)
        return make_table(self.root, self.name, {name: records[name].tolist() for name in _COLUMNS})

    def _hold_out(self, train: pd.DataFrame) -> pd.DataFrame:
        ids = sorted(set(train["vehicle_id"].tolist()), key=self._draw)
        if not 0 < self.held_out < len(ids):
            raise DataError(
                f"Data set {self.name!r}: data.layout.held_out is {self.held_out}, expected 1 to {len(ids) - 1}: the "
                f"training set has {len(ids)} vehicles."
            )
        held_out = train["vehicle_id"].isin(ids[: self.held_out])
        in_drawn_order = train[held_out].sort_values("path", key=lambda path: path.map(self._draw))
        probes = in_drawn_order.groupby("vehicle_id").head(_PROBES).index
        train.loc[held_out, "split"] = "gallery"
        train.loc[probes, "split"] = "query"
        return pd.concat([train[train["split"] == split] for split in ("train", "query", "gallery")])

    def _vehiclenet(self, train: pd.DataFrame) -> pd.DataFrame:
        held_out = train["vehicle_id"] > _LAST_TRAINING_ID
        if held_out.all() or not held_out.any():
            raise DataError(
                f"Data set {self.name!r}: VehicleNet's split trains on vehicles up to {_LAST_TRAINING_ID} and tests on "
                f"the others, but the training set has numbers {train['vehicle_id'].min()} to "
                f"{train['vehicle_id'].max()}; take data=cityflow_holdout."
            )
        queries = ~train[held_out].duplicated(["vehicle_id", "camera_id"])
        gallery = train.assign(split="gallery")
        gallery.loc[queries.index[queries], "split"] = "test"
        return pd.concat([train[~held_out], gallery])

    def _draw(self, item: int | str) -> str:
        """Place of an item in the drawing: a hash, so that no library's version can change the split."""
        return hashlib.sha256(f"{self.seed} {item}".encode()).hexdigest()

    def _part(self, part: str, split: str) -> pd.DataFrame:
        """The records of one image folder; only the training images have a vehicle."""
        file = Path(self.root) / f"{part}_label.xml"
        items = read_items(file, self.name) if part == "train" or file.is_file() else []
        labels = {item["imageName"]: item for item in items}
        tracks = self._tracks(part)
        records = []
        for image in self._images(part, [*labels]):
            number, _, _ = image.partition(".")
            if not number.isdecimal():
                raise DataError(f"Data set {self.name!r}: the image name {image!r} is not <number>.jpg.")
            if part == "train" and image not in labels:
                raise DataError(
                    f"Data set {self.name!r}: {file} has no item for {image}; copy it from the data set's archive."
                )
            label = labels.get(image)
            vehicle = item_number(file, self.name, label, "vehicleID") if label and part == "train" else -1
            camera = item_number(file, self.name, label, "cameraID") if label else -1
            records.append((f"image_{part}/{image}", split, vehicle, camera, tracks.get(str(int(number)), -1)))
        found = pd.DataFrame(records, columns=[*_COLUMNS])
        if tracks and (without := int((found["track_id"] < 0).sum())):
            log.warning("Data set %r: %d of %d images in image_%s have no track.", self.name, without, len(found), part)
        return found

    def _images(self, part: str, labelled: list[str]) -> list[str]:
        file = Path(self.root) / f"name_{part}.txt"
        if file.is_file():
            return sorted(map(with_ending, filter(None, read_lines(file, self.name))))
        if images := sorted(labelled or files_in(Path(self.root) / f"image_{part}")):
            return images
        raise DataError(
            f"Data set {self.name!r}: no {file} and no images in {file.parent / f'image_{part}'}; unpack the data set "
            "completely."
        )

    def _tracks(self, part: str) -> Mapping[str, int]:
        """Image number → track, numbered by its line from 0; nothing for queries, which belong to no track."""
        files = [Path(self.root) / f"{part}_track.txt", Path(self.root) / f"{part}_track_id.txt"]
        return fullest_tracks({file: self._read_tracks(file) for file in files if file.is_file()}, self.name)

    def _read_tracks(self, file: Path) -> dict[str, int]:
        lines = [line.split() for line in read_lines(file, self.name) if line]
        # A line may begin with the track's own name, 0001_c001_t1; the other words are names of images, or numbers.
        named = [line[1:] if line and "_" in line[0] else line for line in lines]
        numbered = [(image.partition(".")[0], track) for track, line in enumerate(named) for image in line]
        if wrong := [number for number, _ in numbered if not number.isdecimal()]:
            raise DataError(f"Data set {self.name!r}: {file} names {wrong[0]!r}, expected image names or numbers only.")
        return {str(int(number)): track for number, track in numbered}
