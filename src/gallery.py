"""A gallery to search in: embeddings, what is known of each image, and filters on it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.cameras import places
from src.data import image_path, known, read_image
from src.retrieval import Backend, Embeddings, Index, read_embeddings, search

#: What a filter takes values of, and the column of the record table.
COLUMNS = {"camera": "camera_id", "domain": "domain", "colour": "colour", "type": "type"}


@dataclass(frozen=True)
class Filters:
    """Which images a search is about; an image that does not say is not among them.

    Attributes:
        camera: Numbers of cameras; none for all. Likewise the next three.
        domain: `"day"`, `"night"`.
        colour: Names, as the data set spells them.
        type: Names, as the data set spells them.
        after: Earliest timestamp.
        before: Latest timestamp.
    """

    camera: Sequence[int] = ()
    domain: Sequence[str] = ()
    colour: Sequence[str] = ()
    type: Sequence[str] = ()
    after: float | None = None
    before: float | None = None

    @property
    def active(self) -> bool:
        """Whether anything is filtered."""
        return any(getattr(self, field.name) not in ((), [], None) for field in fields(self))

    def keep(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Which records a search is about, `(N,)`.

        Raises:
            ValueError: If a value is not in the table at all.
        """
        kept = np.ones(len(table), dtype=bool)
        for name, column in COLUMNS.items():
            wanted = getattr(self, name)
            if not wanted:
                continue
            there = table.loc[known(table, column), column]
            if missing := [value for value in wanted if value not in set(there)]:
                found = ", ".join(map(str, sorted(set(there)))) or "none"
                raise ValueError(f"{name} is {missing[0]!r}, but the gallery has {found}.")
            kept &= table[column].isin(list(wanted)).to_numpy()
        times = table["timestamp"].to_numpy()
        if self.after is not None:
            kept &= times >= self.after
        if self.before is not None:
            kept &= times <= self.before
        return kept


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        row: Its place in the gallery.
        score: Cosine similarity to the query, at most 1.
    """

    row: int
    score: float


class Gallery:
    """An embeddings folder to search in.

    Args:
        embeddings: Of any origin: `src.index`, or a run.
        index: Searched instead of the features where nothing is filtered; None compares with all.

    Attributes:
        table: A record an image, numbered from 0.
        meta: How it was made.
        places: Where cameras stand, by their number; empty if unknown.
    """

    def __init__(self, embeddings: Embeddings, index: Index | None = None) -> None:
        self.table = embeddings.table.iloc[embeddings.rows].reset_index(drop=True)
        self.meta = embeddings.meta
        self.places = places(self.meta.get("cameras") or {}, embeddings.camera_distances)
        self._features = embeddings.features
        self._index = index
        self._backend: Backend = "torch" if self.meta.get("index", {}).get("kind") == "torch" else "faiss"

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Opens what `src.index` has written, or the `embeddings` of a run.

        Raises:
            FileNotFoundError: If it is not whole.
        """
        folder = Path(folder)
        return cls(read_embeddings(folder), Index.load(folder / "index") if (folder / "index").is_dir() else None)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def features(self) -> NDArray[np.float32]:
        """Embeddings `(N, D)`."""
        return self._features.numpy()

    def search(
        self, query: NDArray[np.float32], top: int, filters: Filters | None = None, threshold: float = -1.0
    ) -> list[list[Hit]]:
        """The most similar images of each query, best first.

        With filters every image that passes them is compared, so that the list is as long as it can be and misses
        nothing, whatever the index.

        Args:
            query: Embeddings `(Q, D)` of the same model, L2-normalised.
            top: Length of the lists.
            filters: Which images to search.
            threshold: Least score.

        Raises:
            ValueError: If a filter names what is not there, or the queries are of another model.
        """
        if query.shape[1] != self._features.shape[1]:
            raise ValueError(
                f"The query has {query.shape[1]} dimensions and the gallery {self._features.shape[1]}: both must be "
                "embedded by one checkpoint."
            )
        rows = np.arange(len(self)) if filters is None else np.flatnonzero(filters.keep(self.table))
        if self._index is not None and len(rows) == len(self):
            found, distances = self._index.search(query, top)
        else:
            features = self.features if len(rows) == len(self) else self.features[rows]
            found, distances = search(query, features, top, backend=self._backend)
        scores = 1 - distances.astype(np.float64) ** 2 / 2  # as all embeddings have length 1
        return [
            [
                Hit(int(rows[place]), float(score))
                for place, score in zip(places, line, strict=True)
                if place >= 0 and score >= threshold
            ]
            for places, line in zip(found, scores, strict=True)
        ]

    def describe(self, row: int) -> dict[str, Any]:
        """What is known of an image, ready for JSON; None where nothing is."""
        record = self.table.iloc[[row]]
        facts: dict[str, Any] = {
            name: record[column].item() if known(record, column)[0] else None for name, column in _DESCRIBED.items()
        }
        return {"path": str(image_path(self.table, row))} | facts | {"time": self.time_text(facts["timestamp"])}

    def time_text(self, timestamp: float | None) -> str | None:
        """A timestamp as people read it."""
        if timestamp is None:
            return None
        unit = self.meta.get("time_unit") or ""
        if unit == "unix":
            return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S}"
        return f"{timestamp:,.15g} {unit}".rstrip()

    def image(self, row: int) -> NDArray[np.uint8]:
        """The picture, cut to its box, RGB `(H, W, 3)`.

        Raises:
            DataError: If it cannot be read.
        """
        return read_image(image_path(self.table, row), str(self.table.loc[row, "box"]))


_DESCRIBED = {
    "vehicle": "vehicle_id",
    "camera": "camera_id",
    "timestamp": "timestamp",
    "domain": "domain",
    "colour": "colour",
    "type": "type",
}


def parse_time(text: str | float) -> float:
    """A timestamp from a number, or from a date and time, which become seconds since 1970.

    Args:
        text: `"95057.6"`, or ISO 8601, `"2026-11-21T17:30"`, UTC unless it says otherwise.

    Raises:
        ValueError: If it is neither.

    >>> parse_time("95057.6")
    95057.6
    >>> parse_time("1970-01-01T00:01+00:00")
    60.0
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: pass a number, or a date and time such as 2026-11-21T17:30.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
