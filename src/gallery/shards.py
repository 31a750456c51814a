"""An embeddings folder that grows: what is done survives a killed process, and the next version replaces the last."""

import errno
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from src.retrieval import Embeddings, Index, write_embeddings
from src.retrieval.embeddings import META_FILE
from src.runtime.errors import ConfigError
from src.runtime.whole_files import remedy

Keys = NDArray[np.int64]
_KEYS, _SHARDS, _NEXT, _INDEX = "keys.safetensors", "shards", ".next", "index"
#: What a new version is made of, in the order in which it takes its place; `meta.json` says that all is there.
_PARTS = ("features.safetensors", "table.csv", _KEYS, _INDEX, META_FILE)


class Shards:
    """Records of the images of an embeddings folder, whether it is whole or still in the making.

    Each image has a key, a number that changes with the file. `shards/` holds what was embedded since the folder was
    last whole; `finish` writes the next version beside it and then moves it into place.

    Args:
        folder: The embeddings folder, which need not exist.
        made_by: Checkpoint and precision: embeddings of others are no use.

    Raises:
        ConfigError: If the folder is not of this kind, or was made by something else.
    """

    def __init__(self, folder: Path, made_by: str) -> None:
        self._folder = folder
        self._made_by = made_by
        if (folder / _NEXT / META_FILE).is_file():  # killed while the new version took its place
            self._move()
        shutil.rmtree(folder / _NEXT, ignore_errors=True)  # killed before that: the shards are still there
        if (folder / META_FILE).is_file() and not (folder / _KEYS).is_file():
            raise ConfigError(f"{folder} holds embeddings that src.index has not made; pass another folder as out.")
        for file in self._files():
            self._check(file)

    def keys(self) -> Keys:
        """Keys `(N,)` of all images embedded so far, without reading their features."""
        parts = [np.empty(0, dtype=np.int64)]
        whole = (self._folder / META_FILE).is_file()
        for file in self._files():
            if whole or file.name != _KEYS:
                with safe_open(file, "np") as opened:
                    parts.append(opened.get_tensor("keys"))
        return np.concatenate(parts)

    def known(self) -> tuple[Keys, torch.Tensor]:
        """Keys `(N,)` ascending and features `(N, D)` of all images embedded so far."""
        parts = [load_file(file) for file in self._files() if file.name != _KEYS]
        if (self._folder / META_FILE).is_file():
            parts.append(load_file(self._folder / _KEYS) | load_file(self._folder / _PARTS[0]))
        if not parts:
            return np.empty(0, dtype=np.int64), torch.empty(0, 0)
        keys, first = np.unique(torch.cat([part["keys"] for part in parts]).numpy(), return_index=True)
        return keys, torch.cat([part["features"] for part in parts])[first]

    def add(self, keys: Keys, features: NDArray[np.float32]) -> None:
        """Writes the features `(n, D)` of some images, whole or not at all."""
        file = self._folder / _SHARDS / f"{secrets.token_hex(8)}.safetensors"
        unfinished = file.with_suffix(".part")
        tensors = {"keys": torch.from_numpy(keys), "features": torch.from_numpy(features)}
        with self._one_sentence():
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, unfinished, {"made_by": self._made_by})
            unfinished.replace(file)

    def finish(self, embeddings: Embeddings, keys: Keys, index: Index | None) -> None:
        """Makes a whole folder of it.

        Args:
            embeddings: What it shall hold.
            keys: Of its images, in order.
            index: To be searched instead of the features, if any.
        """
        new = self._folder / _NEXT
        with self._one_sentence():
            new.mkdir(parents=True)
            save_file({"keys": torch.from_numpy(keys)}, new / _KEYS, {"made_by": self._made_by})
            if index is not None:
                index.save(new / _INDEX)
            write_embeddings(new, embeddings)
            self._move()
        shutil.rmtree(self._folder / _SHARDS, ignore_errors=True)

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            number = error.errno if isinstance(error, OSError) else None
            reason = (isinstance(error, OSError) and error.strerror) or error
            if number is None and "No space left" in str(error):
                number = errno.ENOSPC
            raise OSError(
                f"{self._folder} cannot be written ({reason}). {remedy(number)} with out=<folder>; what is embedded "
                "there already is not lost."
            ) from error

    def _move(self) -> None:
        new = self._folder / _NEXT
        (self._folder / META_FILE).unlink(missing_ok=True)
        if (new / _PARTS[0]).exists():  # the first move: nothing has taken its place yet
            shutil.rmtree(self._folder / _INDEX, ignore_errors=True)
        for part in _PARTS:
            if (new / part).exists():
                (new / part).replace(self._folder / part)
        new.rmdir()

    def _files(self) -> list[Path]:
        return [
            file for file in (self._folder / _KEYS, *(self._folder / _SHARDS).glob("*.safetensors")) if file.is_file()
        ]

    def _check(self, file: Path) -> None:
        try:
            with safe_open(file, "pt") as opened:
                made_by = (opened.metadata() or {}).get("made_by")
        except SafetensorError as error:
            raise ConfigError(f"{file} cannot be read ({error}); delete it and run again.") from error
        if made_by != self._made_by:
            raise ConfigError(
                f"{self._folder} holds embeddings of {made_by}, not of {self._made_by}; pass another folder as out, or "
                "delete this one."
            )
