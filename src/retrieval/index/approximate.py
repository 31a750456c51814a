"""FAISS structures that find most of the nearest entries without looking at all."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.distances.feature_distance import Metric, from_squared
from src.retrieval.exact_evaluation import block_rows
from src.retrieval.index.entries import Found
from src.retrieval.index.nearest import SPARE, import_faiss
from src.retrieval.index.options import FEATURES_PER_CENTROID, codes, require_enough
from src.retrieval.relevance import Integers

_BLOCK_MB = 64  # candidates' features at once


class ApproximateEntries:
    """Features in a structure of FAISS, on the CPU.

    The structure measures squared Euclidean distance; features are normalised first if the metric only asks for their
    direction. Distances of the found entries come from the features' differences, except for `"ivf_pq"`, which
    keeps compressed features only: its distances are approximate too.

    Args:
        kind: `"ivf_flat"`, `"ivf_pq"` or `"hnsw"`, see `Index`.
        structure: A trained `faiss.Index`.
        options: Those of the kind.
        metric: What distances are.
    """

    suffix = ".faiss"

    def __init__(self, kind: str, structure: Any, options: Mapping[str, Any], metric: Metric) -> None:
        self._kind = kind
        self._structure = structure
        self._options = options
        self._metric = metric
        self._faiss = _faiss(kind)
        self._map_places()

    @classmethod
    def train(cls, kind: str, features: Tensor, options: Mapping[str, Any], metric: Metric) -> Self:
        """An empty structure that fits the features; `options` have numbers for all, see `fitted`.

        Raises:
            ValueError: If there are too few features.
            ModuleNotFoundError: If FAISS is not installed.
        """
        faiss = _faiss(kind)
        count, dimension = features.shape
        if kind == "hnsw":
            structure = faiss.IndexHNSWFlat(dimension, options["m"])
            structure.hnsw.efConstruction = options["ef_construction"]
            return cls(kind, structure, options, metric)

        require_enough(kind, n_lists := options["n_lists"], count)
        if count < (advised := FEATURES_PER_CENTROID * max(n_lists, codes(kind))):
            warnings.warn(
                f"{kind} with {n_lists} lists learns from {count} features, FAISS advises {advised} or more: "
                "measure the recall, or choose kind=exact.",
                stacklevel=3,
            )
        # np: without reordering codes for polysemous filtering, which nobody uses here and takes minutes.
        storage = f"PQ{options['pq_bytes']}np" if kind == "ivf_pq" else "Flat"
        structure = faiss.index_factory(dimension, f"IVF{n_lists},{storage}")
        clusterings = [structure.cp] if kind == "ivf_flat" else [structure.cp, structure.pq.cp]
        for clustering in clusterings:
            clustering.seed = options["seed"]
            clustering.min_points_per_centroid = 1  # the warning above says it once and for all
        structure.train(_array(features, metric))
        return cls(kind, structure, options, metric)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of entries and of dimensions."""
        return self._structure.ntotal, self._structure.d

    def add(self, features: Tensor) -> None:
        """Adds finite features behind the others."""
        array = _array(features, self._metric)
        if self._kind != "hnsw":
            self._structure.add(array)
            return
        # The file does not hold the generator's state: a saved and loaded graph goes on like the one in memory.
        self._structure.hnsw.rng = self._faiss.RandomGenerator(self._options["seed"] + self._structure.ntotal)
        with _one_thread(self._faiss):  # threads link entries in an order of their own
            self._structure.add(array)

    def remove(self, gone: Integers) -> None:
        """Takes entries out; those behind them move up.

        Groups stay as they were learnt and only lose the entries. A graph has no such step: the rest is linked anew.
        """
        if self._kind == "hnsw":
            kept = np.delete(self._structure.reconstruct_n(0, self._structure.ntotal), gone, axis=0)
            self._structure.reset()
            self.add(torch.from_numpy(kept))
            return
        total = self._structure.ntotal
        self._structure.make_direct_map(False)  # which remove_ids does not keep
        self._structure.remove_ids(self._faiss.IDSelectorBatch(gone))
        moved = np.arange(total) - np.searchsorted(gone, np.arange(total))
        lists = self._structure.invlists
        for number in range(lists.nlist):
            if size := lists.list_size(number):
                places = self._faiss.rev_swig_ptr(lists.get_ids(number), size)  # in place
                places[:] = moved[places]
        self._map_places()

    def search(self, query: Tensor, k: int, kept: NDArray[np.bool_] | None = None) -> Found:
        """The `k` nearest of each query among those that the structure looks at, and that are kept."""
        queries = _array(query, self._metric)
        n_entries, dimension = self.shape
        wanted = min(k, n_entries) if self._kind == "ivf_pq" else min(k + SPARE, n_entries)
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        distances = np.full((len(queries), k), np.inf, dtype=np.float32)
        if wanted == 0:
            return indices, distances
        rows = block_rows(wanted * dimension, _BLOCK_MB)
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            candidates, squares = self._candidates(queries[part], wanted, kept)
            values = from_squared(torch.from_numpy(squares), self._metric).numpy()
            values[candidates < 0] = np.inf
            order = np.lexsort((candidates, values))[:, :k]
            indices[part, : order.shape[1]] = np.take_along_axis(candidates, order, axis=1)
            distances[part, : order.shape[1]] = np.take_along_axis(values, order, axis=1)
        return indices, distances

    def _candidates(self, queries: np.ndarray, k: int, kept: NDArray[np.bool_] | None) -> Found:
        """Places that FAISS finds, and the squared distances."""
        bits = None if kept is None or kept.all() else np.packbits(kept, bitorder="little")
        among = {} if bits is None else {"sel": self._faiss.IDSelectorBitmap(bits)}
        if self._kind == "hnsw":
            effort = self._faiss.SearchParametersHNSW(efSearch=max(self._options["ef_search"], k), **among)
        else:
            effort = self._faiss.SearchParametersIVF(nprobe=self._options["n_probes"], **among)
        if self._kind == "ivf_pq":
            squares, candidates = self._structure.search(queries, k, params=effort)
            return candidates, squares.clip(min=0)
        if bits is None or self._kind == "hnsw":
            _, candidates, features = self._structure.search_and_reconstruct(queries, k, params=effort)
        else:  # which takes no selection
            _, candidates = self._structure.search(queries, k, params=effort)
            features = self._structure.reconstruct_batch(candidates.clip(min=0).ravel()).reshape(*candidates.shape, -1)
        features -= queries[:, None]
        return candidates, torch.from_numpy(features).square_().sum(dim=2).numpy()

    def _map_places(self) -> None:
        """Notes where features lie, 8 bytes each: a selection among them is reconstructed one by one."""
        if self._kind == "ivf_flat":
            self._structure.make_direct_map(True)

    def write(self, path: Path) -> None:
        """Writes everything but the options."""
        self._faiss.write_index(self._structure, str(path))

    @classmethod
    def read(cls, path: Path, kind: str, options: Mapping[str, Any], metric: Metric) -> Self:
        """Reads what `write` wrote.

        Raises:
            ValueError: If the file is damaged.
            ModuleNotFoundError: If FAISS is not installed.
        """
        faiss = _faiss(kind)
        try:
            structure = faiss.read_index(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path} cannot be read by FAISS ({error}): build the index again.") from error
        return cls(kind, structure, options, metric)


def _array(features: Tensor, metric: Metric) -> np.ndarray:
    features = features.float().cpu()
    if metric in ("cosine", "angle"):
        features = torch.nn.functional.normalize(features)
    return features.contiguous().numpy()


def _faiss(kind: str) -> ModuleType:
    return import_faiss(f"kind={kind!r}", "kind='torch'")


@contextmanager
def _one_thread(faiss: ModuleType) -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
