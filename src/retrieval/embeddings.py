"""The embeddings folder: what a model saw in a data set's images, and all that is needed to evaluate it again."""

import json
from collections.abc import Callable, Mapping
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
FEATURES_FILE, TABLE_FILE = "features.safetensors", "table.csv"
Meta = TypeVar("Meta", bound=EmbeddingsMeta)
Result = TypeVar("Result")


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
    write_part(folder, embeddings.features, embeddings.rows, embeddings.table)
    write_meta(folder, embeddings.meta, embeddings.camera_distances)


def write_part(folder: Path, features: Tensor, rows: Integers, table: pd.DataFrame) -> None:
    """Writes features and their records, without what says that they are whole.

    Raises:
        OSError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"features": features.float().cpu().contiguous(), "rows": torch.from_numpy(rows)}
    try:
        save_file(tensors, folder / FEATURES_FILE)
    except SafetensorError as error:
        raise OSError(
            f"{folder / FEATURES_FILE} cannot be written ({error}). Make room, or choose another folder."
        ) from error
    table.to_csv(folder / TABLE_FILE, index_label="row")


def write_meta(folder: Path, meta: EmbeddingsMeta, distances: pd.DataFrame | None) -> None:
    """Writes the record that makes a folder whole, or another version of it, in one step.

    Args:
        folder: An embeddings folder.
        meta: The record.
        distances: Road distances between the cameras, if they are known.
    """
    roads = None if distances is None else {"cameras": distances.index.tolist(), "metres": distances.values.tolist()}
    write_json(folder / META_FILE, as_plain(meta) | {"camera_distances": roads})


def read_embeddings(folder: Path, kind: type[EmbeddingsMeta] = EmbeddingsMeta) -> Embeddings:
    """Reads an embeddings folder.

    Args:
        folder: The folder.
        kind: Record of what made them.

    Raises:
        FileNotFoundError: If the folder lacks one of its files (an interrupted run leaves no `meta.json`).
    """
    return unchanged(folder, lambda: _read_whole(folder, kind))


def unchanged(folder: Path, read: Callable[[], Result]) -> Result:
    """What is read from a folder while nobody writes its next version, whose first act is to delete the last.

    Args:
        folder: An embeddings folder.
        read: Reads it; called again if another version took its place meanwhile.

    Raises:
        FileNotFoundError: If the folder is not whole.
    """
    while True:
        if not (folder / META_FILE).is_file():
            raise _not_whole(folder, META_FILE)
        before = (folder / META_FILE).read_bytes()
        try:
            return read()
        except FileNotFoundError:
            if (folder / META_FILE).is_file() and (folder / META_FILE).read_bytes() == before:
                raise


def _read_whole(folder: Path, kind: type[EmbeddingsMeta]) -> Embeddings:
    content = _read(folder)
    meta = record_of(kind, content)
    found = []
    for part in meta.parts or ("",):
        for name in (FEATURES_FILE, TABLE_FILE):
            if not (folder / part / name).is_file():
                raise _not_whole(folder, str(Path(part, name)))
        found.append((load_file(folder / part / FEATURES_FILE), read_table(folder / part / TABLE_FILE)))
    roads = camera_distances(content)
    if len(found) == 1 and not meta.gone:
        ((tensors, table),) = found
        return Embeddings(tensors["features"], tensors["rows"].numpy(), table, roads, meta)
    kept = np.ones(sum(len(table) for _, table in found), dtype=bool)
    kept[deleted_places(folder, meta)] = False
    features = torch.cat([tensors["features"] for tensors, _ in found])[torch.from_numpy(kept)]
    table = pd.concat([table for _, table in found], ignore_index=True)[kept].reset_index(drop=True)
    return Embeddings(features, np.arange(len(table)), table, roads, meta)


def read_table(file: Path) -> pd.DataFrame:
    """Reads the records of an embeddings folder; names such as 3008, true and 1e5 are no numbers."""
    columns = {**dict.fromkeys(_INTEGERS, "int64"), "timestamp": "float64", "row": "int64"}
    names = pd.read_csv(file, nrows=0).columns
    return pd.read_csv(
        file,
        index_col="row",
        dtype={name: columns.get(name, "str") for name in names},
        keep_default_na=False,
        na_values={"timestamp": [""]},
    )


def deleted_places(folder: Path, meta: EmbeddingsMeta) -> Integers:
    """Places in the parts of a folder, one after the other, that are deleted; ascending."""
    if not meta.gone:
        return np.empty(0, dtype=np.int64)
    places: Integers = load_file(folder / meta.gone)["places"].numpy()
    return places


def camera_distances(content: Mapping[str, Any]) -> pd.DataFrame | None:
    """Road distances in the contents of `meta.json`, if there are any."""
    roads = content.get("camera_distances")
    return roads and pd.DataFrame(roads["metres"], roads["cameras"], roads["cameras"], dtype=np.float64)


def read_meta(folder: Path, kind: type[Meta]) -> Meta:
    """Reads what made the embeddings of a folder, without them.

    Args:
        folder: An embeddings folder.
        kind: The record.
    """
    return record_of(kind, _read(folder))


def read_roads(folder: Path) -> pd.DataFrame | None:
    """Reads the road distances of a folder, without its embeddings."""
    return camera_distances(_read(folder))


def _not_whole(folder: Path, missing: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{folder} is no whole embeddings folder, {missing} is missing; write it again with src.evaluate."
    )


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
    return content
