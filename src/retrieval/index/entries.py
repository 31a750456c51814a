"""Entries that an index searches in, and the simplest: the features themselves."""

from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.retrieval.distances.feature_distance import Metric
from src.retrieval.index.nearest import Backend, import_faiss, search
from src.retrieval.relevance import Integers

Found = tuple[Integers, NDArray[np.float32]]
"""Indices and distances `(Q, k)`, nearest first, then in order of the indices; −1 and infinity as padding."""


class Entries(Protocol):
    """Features `(N, D)` to search in."""

    suffix: str
    """Of the file they are written to."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of entries and of dimensions."""
        ...

    def add(self, features: Tensor) -> None:
        """Adds finite features behind the others."""
        ...

    def remove(self, gone: Integers) -> None:
        """Takes entries out; those behind them move up."""
        ...

    def search(self, query: Tensor, k: int, kept: NDArray[np.bool_] | None = None) -> Found:
        """The `k` nearest of each query, among those that are kept."""
        ...

    def write(self, path: Path) -> None:
        """Writes everything but the options."""
        ...


class FlatEntries:
    """All features as they came, on their device; every query is compared with all of them.

    Raises:
        ModuleNotFoundError: If the back end needs FAISS and it is not installed.
    """

    suffix = ".safetensors"

    def __init__(self, features: Tensor, backend: Backend, metric: Metric) -> None:
        if backend == "faiss":
            import_faiss("kind='exact'", "kind='torch'")  # better now than at the first search
        self._features = features
        self._backend = backend
        self._metric = metric

    @property
    def shape(self) -> tuple[int, int]:
        """Number of entries and of dimensions."""
        return self._features.shape[0], self._features.shape[1]

    def add(self, features: Tensor) -> None:
        """Adds finite features behind the others."""
        self._features = torch.cat([self._features, features.to(self._features)])

    def remove(self, gone: Integers) -> None:
        """Takes entries out; those behind them move up."""
        kept = torch.ones(len(self._features), dtype=torch.bool)
        kept[torch.from_numpy(gone)] = False
        self._features = self._features[kept.to(self._features.device)]

    def search(self, query: Tensor, k: int, kept: NDArray[np.bool_] | None = None) -> Found:
        """Exact lists, see `src.retrieval.index.nearest`."""
        query = query.to(self._features.device)
        if kept is None or kept.all():
            return search(query, self._features, k, backend=self._backend, metric=self._metric)
        places = np.flatnonzero(kept)
        features = self._features[torch.from_numpy(places).to(self._features.device)]
        found, distances = search(query, features, k, backend=self._backend, metric=self._metric)
        return np.where(found < 0, -1, np.append(places, -1)[found]), distances

    def write(self, path: Path) -> None:
        """Writes everything but the options."""
        save_file({"features": self._features.cpu()}, path)

    @classmethod
    def read(cls, path: Path, backend: Backend, metric: Metric, device: torch.device | str) -> Self:
        """Reads what `write` wrote.

        Raises:
            ValueError: If the file is damaged.
            ModuleNotFoundError: If the back end needs FAISS and it is not installed.
        """
        try:
            features = load_file(path, device=str(device))["features"]
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path} cannot be read as features ({error}): build the index again.") from error
        return cls(features, backend, metric)
