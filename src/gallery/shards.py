"""Embeddings that no version of a gallery has yet: what is done survives a killed process."""

import hashlib
import secrets
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from src.gallery.image_keys import Keys
from src.gallery.versions import one_sentence

_SHARDS = "shards"


class Shards:
    """Features of images by their keys, in files that are whole or not there.

    Args:
        folder: Of the gallery, which need not exist.
        made_by: Checkpoint and precision; those of others are kept apart.
    """

    def __init__(self, folder: Path, made_by: str) -> None:
        self._gallery = folder
        self._folder = folder / _SHARDS / hashlib.sha256(made_by.encode()).hexdigest()[:12]

    def keys(self) -> Keys:
        """Keys `(N,)` of all images here, without reading their features."""
        parts = [np.empty(0, dtype=np.int64)]
        for file in self._files():
            with safe_open(file, "np") as opened:
                parts.append(opened.get_tensor("keys"))
        return np.concatenate(parts)

    def known(self) -> tuple[Keys, torch.Tensor]:
        """Keys `(N,)` ascending and features `(N, D)` of all images here."""
        parts = [load_file(file) for file in self._files()]
        if not parts:
            return np.empty(0, dtype=np.int64), torch.empty(0, 0)
        keys, first = np.unique(torch.cat([part["keys"] for part in parts]).numpy(), return_index=True)
        return keys, torch.cat([part["features"] for part in parts])[first]

    def add(self, keys: Keys, features: NDArray[np.float32]) -> None:
        """Writes the features `(n, D)` of some images, whole or not at all."""
        file = self._folder / f"{secrets.token_hex(8)}.safetensors"
        unfinished = file.with_suffix(".part")
        with one_sentence(self._gallery):
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file({"keys": torch.from_numpy(keys), "features": torch.from_numpy(features)}, unfinished)
            unfinished.replace(file)

    def clear(self) -> None:
        """Deletes them, which a version has now."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._folder.parent.is_dir() and not any(self._folder.parent.iterdir()):
            self._folder.parent.rmdir()

    def _files(self) -> list[Path]:
        return [*self._folder.glob("*.safetensors")]
