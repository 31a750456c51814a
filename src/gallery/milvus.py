"""Embeddings in Milvus: in a server, or with Milvus Lite in a file of the gallery's folder."""

import hashlib
import importlib.util
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.gallery.filters import COLUMNS, Filters
from src.runtime.errors import ConfigError

LITE = "milvus.db"  # Milvus Lite's file in the gallery's folder
MOST = 16_384  # results that Milvus gives of a search
_ROWS = 1000  # sent at once: 8 MB of 2048 dimensions, where Milvus takes 64
_PATIENCE = 60  # seconds for Milvus Lite to start


class Milvus:
    """Galleries as collections of Milvus, with an entity an image: its embedding, and what `Filters` ask for.

    The index is Milvus's FLAT, which compares with all, by cosine similarity.

    Args:
        uri: A server, `http://host:19530`, or the path of a file of Milvus Lite, which ends in `.db`.
        token: What the server asks for, `user:password` or a key.

    Raises:
        ConfigError: If the packages are missing, or the server does not answer or the file cannot be opened.
    """

    def __init__(self, uri: str, token: str | None = None) -> None:
        self._uri = uri
        needed = ("pymilvus", "milvus_lite", "pkg_resources") if uri.endswith(".db") else ("pymilvus",)
        if missing := [module for module in needed if not importlib.util.find_spec(module)]:
            raise ConfigError(f"store=milvus needs {', '.join(missing)}: pip install 'vehicle-reid[milvus]'.")
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs what it raises
        with self._one_sentence(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Milvus Lite, about the setuptools it uses
            self._client = self._connect(token or "")

    def fill(
        self, name: str, features: NDArray[np.float32], table: pd.DataFrame, numbers: NDArray[np.int64] | None = None
    ) -> None:
        """Writes a gallery; what an earlier try has left is replaced, unless it is whole.

        Args:
            name: Of the collection; see `collection_name`.
            features: `(N, D)`, L2-normalised.
            table: A record an image, in the same order.
            numbers: Of the images; None for those from 0.
        """
        numbers = np.arange(len(table)) if numbers is None else numbers
        with self._one_sentence():
            if self._client.has_collection(name):
                if self._count(name) == len(table):
                    return
                self._client.drop_collection(name)
            self._create(name, features.shape[1])
            self._upsert(name, features, table, numbers)

    def change(
        self,
        name: str,
        there: NDArray[np.int64],
        numbers: NDArray[np.int64],
        images: Callable[[NDArray[np.int64]], tuple[NDArray[np.float32], pd.DataFrame]],
    ) -> None:
        """Makes a collection hold just the images of some numbers, whatever a killed process has left of its change.

        Args:
            name: Of the collection.
            there: Numbers that it should hold already, ascending.
            numbers: Numbers that it shall hold, ascending.
            images: Features and records of some numbers.
        """
        with self._one_sentence():
            found = there
            if self._count(name) != len(there):  # someone was killed in the middle
                batches = self._client.query_iterator(name, batch_size=MOST, output_fields=["id"])
                found = np.array([hit["id"] for batch in iter(batches.next, []) for hit in batch], dtype=np.int64)
                batches.close()
            # What is there under a number that nothing had is another image's.
            missing = np.setdiff1d(numbers, np.intersect1d(found, there))
            gone = np.setdiff1d(found, numbers)
            if len(missing):
                features, table = images(missing)
                self._upsert(name, features, table, missing)
            for start in range(0, len(gone), _ROWS):
                self._client.delete(name, ids=gone[start : start + _ROWS].tolist())

    def _upsert(
        self, name: str, features: NDArray[np.float32], table: pd.DataFrame, numbers: NDArray[np.int64]
    ) -> None:
        facts = _facts(table)
        for start in range(0, len(features), _ROWS):
            part = range(start, min(start + _ROWS, len(features)))
            rows = [
                {"id": int(numbers[row]), "embedding": features[row]}
                | {field: values[row] for field, values in facts.items()}
                for row in part
            ]
            self._client.upsert(name, rows)

    def search(
        self, name: str, query: NDArray[np.float32], top: int, filters: Filters
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The images most similar to each query among those that pass the filters, best first.

        Args:
            name: Of the collection.
            query: `(Q, D)`, L2-normalised.
            top: Length of the lists, at most 16,384.
            filters: Which images to search.

        Returns:
            Numbers and cosine similarities `(Q, top)`; number -1 where fewer are found.

        Raises:
            ValueError: If the lists are too long.
            ConfigError: If the collection is not there, or Milvus refuses the search.
        """
        if top > MOST:
            raise ValueError(f"top is {top:,}, but Milvus gives at most {MOST:,} results; pass a smaller one.")
        rows, scores = np.full((len(query), top), -1, dtype=np.int64), np.zeros((len(query), top))
        with self._one_sentence():
            if not self._client.has_collection(name):
                raise ConfigError(f"{self._uri} has no collection {name}; open the gallery again, or build it again.")
            found = self._client.search(name, data=[*query], limit=top, filter=expression(filters))
        for place, hits in enumerate(found):
            rows[place, : len(hits)] = [hit["id"] for hit in hits]
            scores[place, : len(hits)] = [hit["distance"] for hit in hits]
        return rows, scores

    def drop(self, name: str) -> None:
        """Deletes a collection, if it is there."""
        with self._one_sentence():
            self._client.drop_collection(name)

    def _connect(self, token: str) -> Any:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException

        patience = time.monotonic() + (_PATIENCE if self._uri.endswith(".db") else 0)
        while True:
            try:
                return MilvusClient(self._uri, token=token, timeout=10)
            except MilvusException as error:
                if "server unavailable" not in error.message or time.monotonic() > patience:
                    raise
                time.sleep(0.1)  # on a busy machine Milvus Lite is still starting

    def _count(self, name: str) -> int:
        (counted,) = self._client.query(name, filter="", output_fields=["count(*)"])
        return int(counted["count(*)"])

    def _create(self, name: str, dimension: int) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dimension)
        schema.add_field("camera_id", DataType.INT64)
        schema.add_field("timed", DataType.BOOL)
        schema.add_field("timestamp", DataType.DOUBLE)
        for field in ("domain", "colour", "type"):
            schema.add_field(field, DataType.VARCHAR, max_length=65_535)
        index = self._client.prepare_index_params()
        index.add_index("embedding", index_type="FLAT", metric_type="COSINE")
        self._client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            busy = "; another process may be using it, and Milvus Lite takes one at a time"
            hint = busy if error.message == "Open local milvus failed" else ""
            raise ConfigError(f"Milvus at {self._uri} says: {error.message}{hint}.") from error


def collection_name(table: pd.DataFrame, keys: NDArray[np.int64], numbers: NDArray[np.int64], made_by: str) -> str:
    """A name that changes with what the collection holds, so that what it names is never half old and half new.

    Args:
        table: A record an image.
        keys: A number for each, which changes with the file.
        numbers: Of the images in the gallery.
        made_by: Checkpoint, precision, folder and next number: galleries share no collection, as each deletes its own.
    """
    content = hashlib.sha256(f"{made_by}\0{table.to_csv()}".encode() + keys.tobytes() + numbers.tobytes()).hexdigest()
    return f"vehicle_reid_{content[:24]}"


def expression(filters: Filters) -> str:
    """Filters in Milvus's language, empty for none.

    >>> expression(Filters(camera=[1, 2], colour=["red"], after=10))
    'camera_id in [1, 2] and colour in ["red"] and timed == true and timestamp >= 10.0'
    """
    parts = [
        f"{column} in {json.dumps([*getattr(filters, name)], ensure_ascii=False)}"
        for name, column in COLUMNS.items()
        if getattr(filters, name)
    ]
    times = {">=": filters.after, "<=": filters.before}
    limits = [f"timestamp {sign} {float(time)}" for sign, time in times.items() if time is not None]
    return " and ".join([*parts, *(["timed == true"] if limits else []), *limits])


def _facts(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Conditions of filters by field; Milvus takes no NaN."""
    facts = {column: table[column].tolist() for column in COLUMNS.values()}
    return facts | {"timed": table["timestamp"].notna().tolist(), "timestamp": table["timestamp"].fillna(0.0).tolist()}
