"""A gallery's folder in memory: read whole, or only what has changed since."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.gallery.gallery_meta import GalleryMeta
from src.gallery.links import LINKS_FILE
from src.gallery.versions import read_features, read_records, read_slots
from src.retrieval import Index, read_meta
from src.retrieval.embeddings import META_FILE, read_roads, unchanged


class Growing:
    """Features that grow behind their end without being copied each time; views of them stay as they are.

    Args:
        features: `(N, D)` to begin with.
    """

    def __init__(self, features: Tensor) -> None:
        self._buffer = features
        self._used = len(features)

    def extended(self, count: int, more: Tensor) -> Tensor:
        """The first `count` features and some more behind them."""
        if count != self._used or count + len(more) > len(self._buffer):
            buffer = self._buffer.new_empty(count + len(more) + (count + len(more)) // 2, self._buffer.shape[1])
            buffer[:count] = self._buffer[:count]
            self._buffer = buffer
        self._buffer[count : count + len(more)] = more
        self._used = count + len(more)
        return self._buffer[: self._used]


@dataclass(frozen=True)
class Loaded:
    """A version of a gallery in memory.

    Attributes:
        meta: How it was made.
        table: A record an image, numbered from 0.
        features: `(N, D)`.
        numbers: Of the images `(N,)`, ascending; an image keeps its own as long as the gallery has it.
        camera_distances: Road distances between cameras; None if unknown.
        index: Searched instead of the features; None compares with all.
        entries: Row of each entry of the index, −1 where the image is deleted.
        growing: Where the features lie.
    """

    meta: GalleryMeta
    table: pd.DataFrame
    features: Tensor
    numbers: NDArray[np.int64]
    camera_distances: pd.DataFrame | None
    index: Index | None
    entries: NDArray[np.int64]
    growing: Growing


def load_gallery(folder: Path, before: Loaded | None = None) -> Loaded:
    """Reads a gallery, or any embeddings folder.

    Args:
        folder: Where it is.
        before: An earlier version of it, of which only the difference is read.

    Raises:
        FileNotFoundError: If it is not whole.
    """
    return unchanged(folder, lambda: _load(folder, before))


def version_stamp(folder: Path) -> object:
    """What changes with each version of a gallery and its links; quick to read."""
    found = []
    for file in (folder / META_FILE, folder / LINKS_FILE):
        with suppress(OSError):
            status = file.stat()
            found.append((file.name, status.st_mtime_ns, status.st_ino))
    return found


def _load(folder: Path, before: Loaded | None) -> Loaded:
    meta = read_meta(folder, GalleryMeta)
    slots = read_slots(folder, meta)
    numbers = slots.numbers[slots.alive]
    if before is None or not meta.base or before.meta.base != meta.base:
        before = None
        features = read_features(folder, meta, slots, slots.alive)
        table, growing = read_records(folder, meta, slots, slots.alive), Growing(features)
    else:
        new = slots.alive & (slots.numbers > before.numbers.max(initial=-1))
        kept = np.isin(before.numbers, numbers)
        features, growing = before.features, before.growing
        if not kept.all():
            features = features[torch.from_numpy(kept)]
            growing = Growing(features)
        table = before.table[kept]
        if new.any():
            features = growing.extended(len(features), read_features(folder, meta, slots, new))
            table = pd.concat([table, read_records(folder, meta, slots, new)])
        table = table.reset_index(drop=True)
    index = before.index if before is not None and before.meta.index.folder == meta.index.folder else None
    if index is None and (folder / meta.index.folder).is_dir():
        index = Index.load(folder / meta.index.folder)
    entries = np.empty(0, dtype=np.int64)
    if index is not None:
        indexed = slots.numbers[: len(index)]
        rows = np.searchsorted(numbers, indexed)
        entries = np.where(slots.alive[: len(index)], rows, -1)
    return Loaded(meta, table, features, numbers, read_roads(folder), index, entries, growing)
