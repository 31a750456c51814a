"""The embeddings folder: what a model saw in a data set's images, and all that is needed to evaluate it again."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.retrieval.embeddings_meta import EmbeddingsMeta
from src.retrieval.relevance import Integers
from src.runtime.json_files import as_plain, record_of, write_json

_INTEGERS = ("vehicle_id", "camera_id", "track_id")
#: The file that says that an embeddings folder is whole.
META_FILE = "meta.json"
_FILES = ("features.safetensors", "table.csv", META_FILE)
Meta = TypeVar("Meta", bound=EmbeddingsMeta)


@dataclass(frozen=True)
class Embeddings:
    """An embeddings folder in memory.

    Attributes:
        features: `(N, D)` L2-normalised, float32.
        rows: Row of each in the table, `(N,)` ascending.
        table: All records of the data set, training images too.
        camera_distances: Road distances between the cameras, index and columns their numbers; None if unknown.
        meta: What made them.
    """

    features: Tensor
    rows: Integers
    table: pd.DataFrame
    camera_distances: pd.DataFrame | None = None
    meta: EmbeddingsMeta = field(default_factory=EmbeddingsMeta)

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
    write_json(folder / META_FILE, as_plain(embeddings.meta) | {"camera_distances": roads})


def read_embeddings(folder: Path, kind: type[EmbeddingsMeta] = EmbeddingsMeta) -> Embeddings:
    """Reads an embeddings folder.

    Args:
        folder: The folder.
        kind: Record of what made them.

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
    meta = _read(folder)
    roads = meta.get("camera_distances")
    distances = roads and pd.DataFrame(roads["metres"], roads["cameras"], roads["cameras"], dtype=np.float64)
    return Embeddings(tensors["features"], tensors["rows"].numpy(), table, distances, record_of(kind, meta))


def read_meta(folder: Path, kind: type[Meta]) -> Meta:
    """Reads what made the embeddings of a folder, without them.

    Args:
        folder: An embeddings folder.
        kind: The record.
    """
    return record_of(kind, _read(folder))


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
    return content
