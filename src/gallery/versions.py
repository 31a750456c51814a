"""Versions of a gallery's folder: `meta.json` names the files of the one that counts, so one rename is the switch."""

import errno
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.gallery.gallery_meta import GalleryMeta
from src.gallery.image_keys import Keys
from src.retrieval.embeddings import FEATURES_FILE, TABLE_FILE, deleted_places, read_table, write_meta, write_part
from src.runtime.errors import ConfigError
from src.runtime.whole_files import remedy

KEYS_FILE = "keys.safetensors"
PATIENCE = 60.0  # seconds that a second writer waits
_PARTS, _GONE, _INDEX = "parts", "gone-", "index-"
_OLD = (FEATURES_FILE, TABLE_FILE, KEYS_FILE, "index", ".next")  # where they lay before there were parts


@dataclass(frozen=True)
class Slots:
    """Places of images in the parts of a folder, one part after the other; deleted ones keep theirs until it is folded.

    Attributes:
        keys: Of the images `(S,)`; 0 in embeddings that `src.index` has not made.
        numbers: Of the images `(S,)`, ascending; an image keeps its own as long as the gallery has it.
        alive: Whether the image is there `(S,)`.
        sizes: Of the parts.
    """

    keys: Keys
    numbers: NDArray[np.int64]
    alive: NDArray[np.bool_]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.keys)


@contextmanager
def writing(folder: Path, patience: float | None = None, lock: str = ".lock") -> Iterator[None]:
    """Keeps other writers of a gallery out; a killed process does not.

    Args:
        folder: Of the gallery.
        patience: Seconds to wait for another writer.
        lock: What is locked.

    Raises:
        ConfigError: If another one is still writing then.
    """
    with one_sentence(folder):
        folder.mkdir(parents=True, exist_ok=True)
    patience = PATIENCE if patience is None else patience
    try:
        with FileLock(folder / lock, timeout=patience):
            yield
    except Timeout as error:
        raise ConfigError(
            f"{folder} is being written by another process, still after {patience:.0f} s; run again when that is done."
        ) from error


def made_by_index(folder: Path, meta: GalleryMeta) -> bool:
    """Whether `src.index` has made the embeddings of a folder, and can change them."""
    return all((folder / part / KEYS_FILE).is_file() for part in meta.parts or ("",))


def read_slots(folder: Path, meta: GalleryMeta) -> Slots:
    """Reads which images a folder holds, without their features."""
    keys, numbers, sizes = [], [], []
    for part in meta.parts or ("",):
        with safe_open(folder / part / FEATURES_FILE, "pt") as opened:
            size = opened.get_slice("features").get_shape()[0]
        said = load_file(folder / part / KEYS_FILE) if (folder / part / KEYS_FILE).is_file() else {}
        keys.append(said["keys"].numpy() if said else np.zeros(size, dtype=np.int64))
        numbers.append(said["numbers"].numpy() if "numbers" in said else np.arange(size))
        sizes.append(size)
    alive = np.ones(sum(sizes), dtype=bool)
    alive[deleted_places(folder, meta)] = False
    return Slots(np.concatenate(keys), np.concatenate(numbers), alive, tuple(sizes))


def read_records(folder: Path, meta: GalleryMeta, slots: Slots, wanted: NDArray[np.bool_]) -> pd.DataFrame:
    """Reads the records of some slots; parts without any stay unread."""
    found = []
    for part, mask in _chosen(meta, slots, wanted):
        table = read_table(folder / part / TABLE_FILE)
        if not meta.parts:  # the embeddings of a run are of some of its records
            table = table.iloc[load_file(folder / FEATURES_FILE)["rows"].numpy()]
        found.append(table[mask])
    return pd.concat(found, ignore_index=True)


def read_features(folder: Path, meta: GalleryMeta, slots: Slots, wanted: NDArray[np.bool_]) -> Tensor:
    """Reads the features `(n, D)` of some slots; parts without any stay unread."""
    found = []
    for part, mask in _chosen(meta, slots, wanted):
        with safe_open(folder / part / FEATURES_FILE, "pt") as opened:
            start = int(mask.argmax()) if mask.any() else len(mask)
            tail = opened.get_slice("features")[start:]
        found.append(tail if mask[start:].all() else tail[torch.from_numpy(mask[start:])])
    return found[0] if len(found) == 1 else torch.cat(found)


def _chosen(meta: GalleryMeta, slots: Slots, wanted: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Parts and the places in them that are wanted; the first part at least."""
    masks = np.split(wanted, np.cumsum(slots.sizes)[:-1])
    parts = list(zip(meta.parts or ("",), masks, strict=True))
    return [(part, mask) for part, mask in parts if mask.any()] or parts[:1]


def write_gallery_part(
    folder: Path, features: Tensor, table: pd.DataFrame, keys: Keys, numbers: NDArray[np.int64]
) -> str:
    """Writes images beside the others, where no version has them yet.

    Returns:
        The part's name.
    """
    name = f"{_PARTS}/{secrets.token_hex(6)}"
    with one_sentence(folder):
        write_part(folder / name, features, np.arange(len(table)), table.reset_index(drop=True))
        tensors = {"keys": torch.from_numpy(keys.copy()), "numbers": torch.from_numpy(numbers.copy())}
        save_file(tensors, folder / name / KEYS_FILE)
    return name


def write_gone(folder: Path, places: NDArray[np.int64], keys: Keys) -> str:
    """Writes what is deleted.

    Args:
        folder: Of the gallery.
        places: Slots that are deleted, ascending.
        keys: Of all images that were ever deleted on request.

    Returns:
        The file's name.
    """
    if len(places) == len(keys) == 0:
        return ""
    name = f"{_GONE}{secrets.token_hex(6)}.safetensors"
    with one_sentence(folder):
        save_file({"places": torch.from_numpy(places), "keys": torch.from_numpy(keys)}, folder / name)
    return name


def read_unwanted(folder: Path, meta: GalleryMeta) -> Keys:
    """Keys of all images that were ever deleted on request."""
    keys: Keys = load_file(folder / meta.gone)["keys"].numpy() if meta.gone else np.empty(0, dtype=np.int64)
    return keys


def new_index_name() -> str:
    """A folder for an index that no version has yet."""
    return f"{_INDEX}{secrets.token_hex(6)}"


def commit(folder: Path, meta: GalleryMeta, distances: pd.DataFrame | None) -> None:
    """Makes the files that a record names the version that counts, in one step, and deletes all others.

    Args:
        folder: Of the gallery.
        meta: The record.
        distances: Road distances between the cameras, if they are known.
    """
    with one_sentence(folder):
        write_meta(folder, meta, distances)
    used = {*meta.parts, meta.gone, meta.index.folder}
    others = [*folder.glob(f"{_PARTS}/*"), *folder.glob(f"{_GONE}*"), *folder.glob(f"{_INDEX}*")]
    for path in [*others, *(folder / name for name in _OLD)]:
        if path.relative_to(folder).as_posix() not in used:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def one_sentence(folder: Path) -> Iterator[None]:
    """Says what is wrong with writing a gallery in one sentence.

    Raises:
        OSError: If it cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = (isinstance(error, OSError) and error.strerror) or error
        if number is None and "No space left" in str(error):
            number = errno.ENOSPC
        raise OSError(
            f"{folder} cannot be written ({reason}). {remedy(number)} with out=<folder>; what is embedded "
            "there already is not lost."
        ) from error
