"""Records as tensors."""

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from src.data.images import read_image, read_mask
from src.data.samplers.batch_samplers import Draw
from src.data.table import DOMAINS, DataError, image_path, known
from src.data.transforms.background import Substitution
from src.data.transforms.pipeline import Pipeline

#: One record; a loader makes a batch of tensors of it.
Item = dict[str, Tensor | int]
Labels = Sequence[tuple[str, int]]
#: What of an image methods may learn, or be told, by name.
ATTRIBUTES = ("colour", "type", "camera", "view")


class ReIDDataset(Dataset[Item]):
    """A record table as a map from draws to tensors.

    What is random about an item is a function of seed, epoch and number of the draw, whichever process makes it.

    Args:
        table: The record table.
        pipeline: How images are transformed.
        labels: Class index → (data set, vehicle id).
        names: Of each of `ATTRIBUTES` the index → name.
        mask: Give the vehicles' masks.
        seed: Seed of the run.
        class_column: Column whose values are the classes.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        pipeline: Pipeline,
        labels: Labels = (),
        names: Mapping[str, Sequence[str]] | None = None,
        mask: bool = False,
        seed: int = 0,
        class_column: str = "vehicle_id",
    ) -> None:
        self._table = table
        self._pipeline = pipeline
        self._mask = mask
        self._seed = seed
        self._has_mask = known(table, "mask")
        train = (table["split"] == "train").to_numpy()
        self._masked = np.flatnonzero(train & self._has_mask)  # where other backgrounds come from
        self._codes = {
            "label": class_index(table, labels, class_column),
            "vehicle_id": table["vehicle_id"].to_numpy(),
            "camera_id": table["camera_id"].to_numpy(),
            "track_id": table["track_id"].to_numpy(),
            "domain": name_index(table["domain"], DOMAINS),
        } | {name: name_index(attribute(table, name), (names or {}).get(name, ())) for name in ATTRIBUTES}

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, draw: Draw | int) -> Item:
        """One record.

        Args:
            draw: A draw of a sampler, or a row where nothing is random.

        Returns:
            image: RGB, `(3, H, W)` uint8. row: row of the table. label: class index. vehicle_id, camera_id, track_id.
            domain: 0 day, 1 night. colour, type, camera, view: indices. All integers (int64 in a batch), -1 where
            unknown. If asked for, glare and mask: `(1, H, W)` uint8 of 0 and 1.

        Raises:
            DataError: If the image or its mask cannot be read, or they differ in size.
        """
        row, epoch, number = draw if isinstance(draw, tuple) else (draw, 0, draw)
        box = str(self._table.loc[row, "box"])
        image = read_image(image_path(self._table, row), box)
        read_mask = partial(self._read_mask, row, box, image.shape[:2])
        seen = self._pipeline(
            image,
            read_mask() if self._mask else None,
            night=self._codes["domain"][row] == DOMAINS.index("night"),
            seed=draw_seed(self._seed, epoch, number),
            substitution=Substitution(read_mask, partial(self._draw_other, row)) if self._has_mask[row] else None,
        )
        item: Item = {"image": torch.from_numpy(np.ascontiguousarray(seen.image.transpose(2, 0, 1)))}
        for name, layer in (("mask", seen.mask), ("glare", seen.glare)):
            if layer is not None:
                item[name] = torch.from_numpy(np.ascontiguousarray(layer))[None]
        return item | {"row": row} | {name: int(values[row]) for name, values in self._codes.items()}

    def _draw_other(self, row: int, rng: Random) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Another training image that has a mask, and that mask; the image itself if it is the only one."""
        count = len(self._masked)
        place = int(np.searchsorted(self._masked, row)) + rng.randrange(1, max(count, 2))
        other = int(self._masked[place % count])
        box = str(self._table.loc[other, "box"])
        image = read_image(image_path(self._table, other), box)
        return image, self._read_mask(other, box, image.shape[:2])

    def _read_mask(self, row: int, box: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        path = image_path(self._table, row, "mask")
        if not self._table.loc[row, "mask"]:
            raise DataError(f"The image {image_path(self._table, row)} has no mask, which transforms.mask=true needs.")
        mask = read_mask(path, box)
        if mask.shape != shape:
            raise DataError(f"The mask {path} is {mask.shape}, its image {shape} pixels; they must be equal.")
        return mask


def draw_seed(seed: int, epoch: int, number: int) -> int:
    """One number for each combination of a seed, an epoch below 2^32 and a number below 2^40."""
    return (seed << 72) | (epoch << 40) | number


def train_labels(table: pd.DataFrame, target: str = "vehicle_id") -> list[tuple[str, int]]:
    """The identities (or cameras) of the training rows, sorted: the classifier's classes in order."""
    train = table[(table["split"] == "train").to_numpy() & known(table, target)]
    pairs = train[["dataset", target]].drop_duplicates()
    return sorted(zip(pairs["dataset"].tolist(), pairs[target].tolist(), strict=True))


def attribute(table: pd.DataFrame, name: str) -> pd.Series:
    """Each row's name of one of `ATTRIBUTES`, "" where it is unknown; a camera's is that of its data set too."""
    if name != "camera":  # a table written before there was such a column knows none
        return table[name] if name in table else pd.Series("", index=table.index)
    cameras = table["dataset"] + " " + table["camera_id"].astype(str)
    return cameras.where(known(table, "camera_id"), "")


def training_names(table: pd.DataFrame) -> dict[str, list[str]]:
    """The names that each of `ATTRIBUTES` has in the training rows, sorted, cameras by data set and number."""
    train = table[(table["split"] == "train").to_numpy()]
    names = {name: sorted(set(attribute(train, name)) - {""}) for name in ATTRIBUTES if name != "camera"}
    cameras = train[known(train, "camera_id")][["dataset", "camera_id"]].drop_duplicates()
    pairs = sorted(zip(cameras["dataset"].tolist(), cameras["camera_id"].tolist(), strict=True))
    return names | {"camera": [f"{dataset} {number}" for dataset, number in pairs]}


def name_index(values: pd.Series, names: Sequence[str]) -> NDArray[np.int64]:
    """Place of each value among the names `(N,)`, -1 for a value that is not one."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places.get(value, -1) for value in values], dtype=np.int64)


def class_index(table: pd.DataFrame, labels: Labels, target: str = "vehicle_id") -> NDArray[np.int64]:
    """Class index of each row `(N,)`, -1 for identities (or cameras) that are not among the labels."""
    if not labels:
        return np.full(len(table), -1, dtype=np.int64)
    keys = pd.MultiIndex.from_arrays([table["dataset"], table[target]])
    return pd.MultiIndex.from_tuples(list(labels)).get_indexer(keys).astype(np.int64)
