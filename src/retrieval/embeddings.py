"""The embeddings folder: what a model saw in a data set's images, and all that is needed to evaluate it again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.retrieval.relevance import Integers
from src.runtime.whole_files import write_atomically

_INTEGERS = ("vehicle_id", "camera_id", "track_id")
_FILES = ("features.safetensors", "table.csv", "meta.json")


@dataclass(frozen=True)
class Embeddings:
    """An embeddings folder in memory.

    Attributes:
        features: `(N, D)` L2-normalised, float32.
        rows: Row of each in the table, `(N,)` ascending.
        table: All records of the data set, training images too.
        camera_distances: Road distances between the cameras, index and columns their numbers; None if unknown.
        meta: Checkpoint hash, transforms, tasks, data name and fingerprint.
    """

    features: Tensor
    rows: Integers
    table: pd.DataFrame
    camera_distances: pd.DataFrame | None
    meta: dict[str, Any]

    def of(self, rows: Integers) -> Tensor:
        """Features of some rows of the table.

        Raises:
            ValueError: If one of them was not embedded.
        """
        places = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        if missing := int((self.rows[places] != rows).sum()):
            raise ValueError(f"{missing} of {len(rows)} images are not among the {len(self.rows):,} embedded ones.")
        return self.features[torch.from_numpy(places).to(self.features.device)]


def same_images(one: Embeddings, other: Embeddings) -> bool:
    """Whether two models saw the same images of the same vehicles, cropped to a box by one of them or not."""
    columns = ["dataset", "path", "vehicle_id", "split"]
    return np.array_equal(one.rows, other.rows) and one.table[columns].equals(other.table[columns])


def write_embeddings(folder: Path, embeddings: Embeddings) -> None:
    """Writes an embeddings folder; `meta.json` comes last, so a folder that has it is whole.

    Raises:
        OSError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"features": embeddings.features.float().cpu().contiguous(), "rows": torch.from_numpy(embeddings.rows)}
    try:
        save_file(tensors, folder / _FILES[0])
    except SafetensorError as error:
        raise OSError(
            f"{folder / _FILES[0]} cannot be written ({error}). Make room, or choose another folder."
        ) from error
    embeddings.table.to_csv(folder / _FILES[1], index_label="row")
    distances = embeddings.camera_distances
    roads = None if distances is None else {"cameras": distances.index.tolist(), "metres": distances.values.tolist()}
    meta = embeddings.meta | {"camera_distances": roads}
    write_atomically(folder / _FILES[2], json.dumps(meta, indent=2) + "\n")


def read_embeddings(folder: Path) -> Embeddings:
    """Reads an embeddings folder.

    Raises:
        FileNotFoundError: If the folder lacks one of its three files (an interrupted run leaves no `meta.json`).
    """
    for name in _FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is no whole embeddings folder, {name} is missing; write it again with src.evaluate."
            )
    tensors = load_file(folder / _FILES[0])
    # Names such as 3008, true and 1e5 are no numbers.
    columns = {**dict.fromkeys(_INTEGERS, "int64"), "timestamp": "float64", "row": "int64"}
    names = pd.read_csv(folder / _FILES[1], nrows=0).columns
    table = pd.read_csv(
        folder / _FILES[1],
        index_col="row",
        dtype={name: columns.get(name, "str") for name in names},
        keep_default_na=False,
        na_values={"timestamp": [""]},
    )
    meta = json.loads((folder / _FILES[2]).read_text(encoding="utf-8"))
    roads = meta.pop("camera_distances")
    distances = roads and pd.DataFrame(roads["metres"], index=roads["cameras"], columns=roads["cameras"])
    return Embeddings(tensors["features"], tensors["rows"].numpy(), table, distances, meta)
