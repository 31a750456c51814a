"""A search index over embeddings that can be kept, extended, and says what it was built from."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.distances.feature_distance import Features, Metric, feature_tensor, squared_norms
from src.retrieval.index.approximate import ApproximateEntries
from src.retrieval.index.entries import Entries, FlatEntries, Found
from src.retrieval.index.nearest import Backend, import_faiss
from src.retrieval.index.options import OF_SEARCH, OPTIONS, IndexKind, check, fitted
from src.runtime.json_files import write_json

SCHEMA = 1
_FILE = "index.json"
_META = {"schema", "kind", "metric", "options", "count", "dimension", "built_from", "entries", "faiss"}
_PREFIX = "entries-"
_BACKENDS: dict[str, Backend] = {"exact": "faiss", "torch": "torch"}


class Index:
    """Embeddings to search in, numbered 0 … N − 1. Make one with `build` or `load`.

    Kinds, what they keep of a feature of D dimensions, and their options:

    - `"exact"`: FAISS compares with all, on a GPU if it sees one. The features as they came.
    - `"torch"`: torch compares with all, where the features lie. The features as they came.
    - `"ivf_flat"`: features in `n_lists` groups (None: √N), of which the nearest `n_probes` are searched. 4 · D bytes.
    - `"ivf_pq"`: the same with features compressed to `pq_bytes` (None: the largest divisor of D up to 64); distances
      are those of the compressed features.
    - `"hnsw"`: a graph in which entries know about `m` neighbours, walked with `ef_construction` candidates to build
      and `ef_search` to search it. 4 · D + 8 · `m` bytes.

    The last three miss some of the nearest, see `recall`, and run on the CPU. Their `seed` decides groups, codes and
    levels: the same features and seed give the same index.

    Attributes:
        kind: One of the above.
        metric: What distances are, see `FeatureDistance`.
        options: Those of the kind, with numbers instead of None.
        built_from: Whatever its maker wanted to be known, ready for JSON: checkpoint, data.
    """

    def __init__(
        self,
        entries: Entries,
        kind: IndexKind,
        metric: Metric,
        options: dict[str, int],
        built_from: dict[str, Any],
    ) -> None:
        self._entries = entries
        self.kind = kind
        self.metric = metric
        self.options = options
        self.built_from = built_from

    @classmethod
    def build(
        cls,
        features: Features,
        kind: IndexKind = "exact",
        *,
        metric: Metric = "euclidean",
        built_from: Mapping[str, Any] | None = None,
        **options: int | None,
    ) -> Self:
        """Builds an index.

        Args:
            features: Embeddings `(N, D)`, float16, bfloat16 or float32, NumPy or torch. `"exact"` and `"torch"` use
                them in place.
            kind: How to search.
            metric: What distances are.
            built_from: What to note down.
            options: Those of the kind.

        Raises:
            ValueError: If a kind or option is unknown or out of range, or a feature is not finite.
            TypeError: If `built_from` cannot be written as JSON, or the features are not floating point.
            ModuleNotFoundError: If the kind needs FAISS and it is not installed.
        """
        if kind not in OPTIONS:
            raise ValueError(f"kind is {kind!r}, expected one of {', '.join(OPTIONS)}.")
        if metric not in get_args(Metric):
            raise ValueError(f"metric is {metric!r}, expected one of {', '.join(get_args(Metric))}.")
        check(f"An index of kind {kind!r}", options, OPTIONS[kind])
        noted = json.loads(json.dumps(dict(built_from or {})))
        tensor = _finite("features", features)
        if kind in _BACKENDS:
            return cls(FlatEntries(tensor, _BACKENDS[kind], metric), kind, metric, {}, noted)
        numbers = fitted(kind, OPTIONS[kind] | options, len(tensor), tensor.shape[1])
        entries = ApproximateEntries.train(kind, tensor, numbers, metric)
        entries.add(tensor)
        return cls(entries, kind, metric, numbers, noted)

    def __len__(self) -> int:
        return self._entries.shape[0]

    @property
    def dimension(self) -> int:
        """Length of a feature."""
        return self._entries.shape[1]

    def search(self, query: Features, k: int, kept: NDArray[np.bool_] | None = None) -> Found:
        """The `k` nearest entries of each query.

        Args:
            query: Embeddings `(Q, D)` of the same model.
            k: Length of the lists.
            kept: Mask `(N,)` of the entries that may be found; None for all.

        Returns:
            Indices and distances `(Q, k)`, nearest first, equal distances in order of the indices; index −1 and
            distance infinity where fewer than `k` are found.

        Raises:
            ValueError: If `k` is less than 1, the dimensions or the mask do not fit, or a feature is not finite.
        """
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1 neighbour.")
        if kept is not None and kept.shape != (len(self),):
            raise ValueError(f"kept has the shape {kept.shape}, expected ({len(self)},).")
        return self._entries.search(self._fitting("query", query), k, kept)

    def extend(self, features: Features) -> None:
        """Adds entries; their numbers go on where the others end. Groups and codes stay as they were learnt.

        Args:
            features: Embeddings `(N, D)` of the same model.

        Raises:
            ValueError: If the dimensions differ, or a feature is not finite.
        """
        self._entries.add(self._fitting("features", features))

    def remove(self, gone: NDArray[np.int64]) -> None:
        """Takes entries out; those behind them move up. Groups and codes stay, a graph is linked anew.

        Args:
            gone: Their numbers.

        Raises:
            ValueError: If there is no such entry.
        """
        gone = np.unique(np.asarray(gone, dtype=np.int64))
        if len(gone) and not 0 <= gone[0] <= gone[-1] < len(self):
            raise ValueError(f"The entries {gone[0]} to {gone[-1]} are not all among the {len(self)}.")
        if len(gone):
            self._entries.remove(gone)

    def _fitting(self, name: str, features: Features) -> Tensor:
        tensor = _finite(name, features)
        if tensor.shape[1] != self.dimension:
            raise ValueError(
                f"{name} has {tensor.shape[1]} dimensions and the index {self.dimension}: both must come from the "
                f"same model; the index was built from {self.built_from or 'nothing it knows of'}."
            )
        return tensor

    def save(self, folder: Path) -> None:
        """Writes `index.json` and the file of entries that it names.

        An index that was there before stays whole until the new `index.json`, written last, takes its place.
        """
        folder.mkdir(parents=True, exist_ok=True)
        entries = folder / f"{_PREFIX}{secrets.token_hex(4)}{self._entries.suffix}"
        meta = {
            "schema": SCHEMA,
            "kind": self.kind,
            "metric": self.metric,
            "options": self.options,
            "count": len(self),
            "dimension": self.dimension,
            "built_from": self.built_from,
            "entries": entries.name,
            "faiss": None if self.kind == "torch" else import_faiss(f"kind={self.kind!r}", "kind='torch'").__version__,
        }
        try:
            self._entries.write(entries)
            write_json(folder / _FILE, meta)
        except BaseException:
            entries.unlink(missing_ok=True)
            raise
        for other in folder.glob(f"{_PREFIX}*"):
            if other != entries:
                other.unlink()

    @classmethod
    def load(cls, folder: Path, *, device: torch.device | str = "cpu", **options: int) -> Self:
        """Reads an index.

        Args:
            folder: Where it was saved.
            device: Where to search, for `"torch"`; the other kinds need their entries on the CPU.
            options: Other values of those that matter at search: `n_probes`, `ef_search`.

        Raises:
            FileNotFoundError: If one of the two files is missing.
            ValueError: If they are damaged or do not belong together, or an option is unknown or out of range.
            ModuleNotFoundError: If the kind needs FAISS and it is not installed.
        """
        path = folder / _FILE
        meta = _read_meta(path)
        kind, metric, stored = meta["kind"], meta["metric"], meta["options"]
        check(f"A saved index of kind {kind!r}", options, {name: stored[name] for name in OF_SEARCH if name in stored})
        file = folder / meta["entries"]
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing, which {path} names: build and save the index again.")
        numbers = stored | options
        entries: Entries
        if kind in _BACKENDS:
            entries = FlatEntries.read(file, _BACKENDS[kind], metric, device if kind == "torch" else "cpu")
        else:
            entries = ApproximateEntries.read(file, kind, numbers, metric)
        if entries.shape != (meta["count"], meta["dimension"]):
            raise ValueError(
                f"{file} holds {entries.shape[0]} entries of {entries.shape[1]} dimensions, expected the "
                f"{meta['count']} of {meta['dimension']} that {path} describes: build and save the index again."
            )
        return cls(entries, kind, metric, numbers, meta["built_from"])


def recall(found: Found, exact: Found) -> float:
    """Share of the exact nearest entries that a search found, recall@k; NaN if there are none.

    Args:
        found: Indices and distances `(Q, k)` of the search.
        exact: The exact ones, `(Q, K)` and K ≥ k. An entry beyond place k that is as near as the one at place k is as
            good; a few more than k show such ties.

    Raises:
        ValueError: If the shapes do not fit.
    """
    (n_queries, k), (n_exact, longer) = found[0].shape, exact[0].shape
    if n_queries != n_exact or k > longer:
        raise ValueError(
            f"found has {n_queries} lists of {k} and exact {n_exact} of {longer}, expected as many lists, no shorter."
        )
    near = (exact[0] >= 0) & (exact[1] <= exact[1][:, k - 1 : k])
    hits = np.array([np.isin(mine, his[rows]).sum() for mine, his, rows in zip(found[0], exact[0], near, strict=True)])
    wanted = (exact[0][:, :k] >= 0).sum(axis=1)
    return float(np.minimum(hits, wanted).sum() / wanted.sum()) if wanted.any() else float("nan")


def _finite(name: str, features: Features) -> Tensor:
    tensor = feature_tensor(name, features)
    squared_norms(name, tensor)  # which refuses NaN and infinity
    return tensor


def _read_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} holds no whole index, {path.name} is missing: build and save it again.")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): build and save the index again.") from error
    if (
        not isinstance(meta, dict)
        or meta.get("schema") != SCHEMA
        or meta.keys() != _META
        or meta["kind"] not in OPTIONS
    ):
        raise ValueError(f"{path} does not describe an index of schema {SCHEMA}: build and save the index again.")
    return meta
