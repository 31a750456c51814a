"""A gallery to search in: embeddings, and what is known of each image."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from src.data import image_path, known, read_image
from src.gallery.cameras import places
from src.gallery.filters import Filters, gallery_time
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.links import read_links
from src.gallery.loading import Growing, Loaded, load_gallery, version_stamp
from src.gallery.milvus import LITE, MOST, Milvus
from src.gallery.videos import gallery_videos
from src.retrieval import Backend, Embeddings, Index, search
from src.runtime.errors import ConfigError

STORES = ("folder", "milvus")
ROUNDING = 1e-6  # of a score


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        row: Its place in the gallery.
        score: Cosine similarity to the query, at most 1.
        probability: That it shows the query's vehicle; None if unknown.
    """

    row: int
    score: float
    probability: float | None = None


class Gallery:
    """An embeddings folder to search in.

    Args:
        embeddings: Of any origin: `src.index`, or a run.
        index: Searched instead of the features where nothing is filtered; None compares with all.
        milvus: Searched instead of both, if given, in the collection that `meta` names.

    Attributes:
        table: A record an image, numbered from 0.
        numbers: Of the images `(N,)`, ascending; they keep them while others come and go.
        meta: How it was made.
        places: Where cameras stand, by their number; empty if unknown.
        camera_distances: Road distances between cameras; None if unknown.
        links: Vehicle of each track, where `src.link` has said.
        videos: What the images were cropped from, by number; empty if they were not.
        milvus: Where it is searched, if not here.
    """

    def __init__(self, embeddings: Embeddings, index: Index | None = None, milvus: Milvus | None = None) -> None:
        table = embeddings.table.iloc[embeddings.rows].reset_index(drop=True)
        rows = np.arange(len(table))
        entries = rows if index is not None else rows[:0]
        meta, growing = GalleryMeta.of(embeddings.meta), Growing(embeddings.features)
        self._show(
            Loaded(meta, table, embeddings.features, rows, embeddings.camera_distances, index, entries, growing),
            milvus,
        )

    def _show(self, loaded: Loaded, milvus: Milvus | None, folder: Path | None = None) -> None:
        self.table, self.meta, self.numbers = loaded.table, loaded.meta, loaded.numbers
        self.camera_distances = loaded.camera_distances
        self.links: dict[int, int] = {}
        self.videos = gallery_videos(self.meta.videos)
        self.places = places(self.meta.cameras, loaded.camera_distances)
        self._loaded, self.milvus, self._folder = loaded, milvus, folder
        self._backend: Backend = "torch" if self.meta.index.kind == "torch" else "faiss"
        self._seen = None if folder is None else version_stamp(folder)
        if folder is not None:
            self.links = read_links(folder)

    @classmethod
    def open(
        cls, folder: Path | str, store: str | None = None, uri: str | None = None, token: str | None = None
    ) -> Self:
        """Opens what `src.index` has written, or the `embeddings` of a run.

        Args:
            folder: Where it is.
            store: `"folder"` searches the folder itself, `"milvus"` the copy of it in Milvus; None what it was indexed
                for.
            uri: Where Milvus is; None for where the gallery was indexed.
            token: What the Milvus server asks for.

        Raises:
            FileNotFoundError: If it is not whole.
            ConfigError: If there is no such folder or store, the gallery is not in Milvus, or Milvus does not answer.
        """
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise ConfigError(
                f"index={folder} is no folder; pass what src.index has written (src.index checkpoint=… images=… "
                "out=<folder>), or the embeddings folder of a run."
            )
        gallery = cls.__new__(cls)
        seen = version_stamp(folder)
        loaded = load_gallery(folder)
        copy = loaded.meta.milvus
        store = store or ("milvus" if copy else "folder")
        if store not in STORES or (store == "milvus" and not copy):
            there = " or ".join(STORES if copy else STORES[:1])
            raise ConfigError(
                f"store is {store!r}, but {folder} can be searched in {there}; src.index store=milvus adds one."
            )
        milvus = Milvus(uri or copy.uri or str(folder / LITE), token) if copy and store == "milvus" else None
        gallery._show(loaded, milvus, folder)
        gallery._seen = seen
        return gallery

    @property
    def changed(self) -> bool:
        """Whether its folder has another version now."""
        return self._folder is not None and version_stamp(self._folder) != self._seen

    def refreshed(self) -> "Gallery":
        """The gallery as its folder has it now, of which only the difference is read; itself if nothing has changed.

        Raises:
            FileNotFoundError: If it is not whole any more.
        """
        if self._folder is None or not self.changed:
            return self
        seen = version_stamp(self._folder)
        gallery = type(self).__new__(type(self))
        gallery._show(load_gallery(self._folder, self._loaded), self.milvus, self._folder)
        gallery._seen = seen
        return gallery

    def row_of(self, number: int) -> int:
        """Row of an image by its number, which stays while others come and go.

        Raises:
            ValueError: If there is none.
        """
        row = int(np.searchsorted(self.numbers, number))
        if row == len(self) or self.numbers[row] != number:
            last = self.meta.next_number - 1 if self.meta.next_number else len(self) - 1
            if 0 <= number <= last:
                raise ValueError(f"The image {number} was deleted.")
            raise ValueError(f"There is no image {number}, the last is {last}.")
        return row

    def __len__(self) -> int:
        return len(self.table)

    @property
    def features(self) -> NDArray[np.float32]:
        """Embeddings `(N, D)`."""
        return self._loaded.features.numpy()

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
            threshold: Least score; 1.0 finds the same picture, which single precision may put a little below it.

        Raises:
            ValueError: If a filter names what is not there, or the queries are of another model.
        """
        if query.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"The query has {query.shape[1]} dimensions and the gallery {self.features.shape[1]}: both must be "
                "embedded by one checkpoint."
            )
        filters = (filters or Filters()).fitted(self.table)
        rows = np.flatnonzero(filters.keep(self.table))
        if self.milvus is not None and self.meta.milvus is not None:
            found, scores = self._search_milvus(self.milvus, self.meta.milvus.collection, query, top, filters)
            rows = np.arange(len(self))
        else:
            found, scores = self._search_here(query, top, rows)
        return [
            [
                Hit(int(rows[place]), float(score))
                for place, score in zip(places, line, strict=True)
                if place >= 0 and score >= threshold - ROUNDING
            ]
            for places, line in zip(found, scores, strict=True)
        ]

    def _search_here(
        self, query: NDArray[np.float32], top: int, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Places in `rows` and scores; place -1 where there are no more."""
        if self._loaded.index is not None and len(rows) == len(self):
            found, distances = self._search_index(self._loaded.index, query, top)
        else:
            features = self.features if len(rows) == len(self) else self.features[rows]
            found, distances = search(query, features, top, backend=self._backend)
        return found, 1 - distances.astype(np.float64) ** 2 / 2  # as all embeddings have length 1

    def _search_index(
        self, index: Index, query: NDArray[np.float32], top: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and distances: of the index without what is deleted, and of all images that came after it."""
        entries = self._loaded.entries
        found, distances = index.search(query, top, entries >= 0)
        rows = np.append(entries, -1)[found]
        if (start := int(entries.max(initial=-1)) + 1) == len(self):
            return rows, distances
        later, their = search(query, self.features[start:], top, backend=self._backend)
        rows = np.hstack([rows, np.where(later < 0, -1, later + start)])
        distances = np.hstack([distances, their])
        order = np.lexsort((rows, distances))[:, :top]
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)

    def _search_milvus(
        self, milvus: Milvus, collection: str, query: NDArray[np.float32], top: int, filters: Filters
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows and scores, without images that are deleted or not yet here: a change may be under way."""
        wanted = top
        while True:
            numbers, scores = milvus.search(collection, query, wanted, filters)
            rows = np.searchsorted(self.numbers, numbers).clip(max=max(len(self) - 1, 0))
            here = self.numbers[rows] == numbers if len(self) else np.zeros_like(rows, dtype=bool)
            enough = (here.sum(axis=1) >= top) | (numbers < 0).any(axis=1)
            if enough.all() or wanted == MOST:
                rows, order = np.where(here, rows, -1), np.argsort(~here, axis=1, kind="stable")[:, :top]
                return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
            wanted = min(2 * wanted, MOST)

    def describe(self, row: int) -> dict[str, Any]:
        """Record of an image, ready for JSON; None where nothing is known."""
        record = self.table.iloc[[row]]
        facts: dict[str, Any] = {
            name: record[column].item() if known(record, column)[0] else None for name, column in _DESCRIBED.items()
        }
        told = {"time": self.time_text(facts["timestamp"]), "global_id": self.links.get(int(record["track_id"].item()))}
        return {"path": str(image_path(self.table, row))} | facts | told

    def parse_time(self, text: Any) -> float:
        """A time that a search asks for, as the gallery counts time; see `parse_time`.

        Raises:
            ValueError: If it is no time, or a date where the gallery does not count seconds since 1970.
        """
        return gallery_time(text, self.meta.time_unit or "", self.table["timestamp"])

    def time_text(self, timestamp: float | None) -> str | None:
        """A timestamp as people read it."""
        if timestamp is None:
            return None
        unit = self.meta.time_unit or ""
        if unit == "unix":
            return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S}"
        return f"{timestamp:,.15g} {unit}".rstrip()

    def span_text(self, first: float | None, last: float | None) -> str | None:
        """Two timestamps as people read them; what is the same in both, the date or the unit, once."""
        one, other = self.time_text(first), self.time_text(last)
        if one is None or other is None or one == other:
            return one
        if self.meta.time_unit == "unix" and one.partition(" ")[0] == other.partition(" ")[0]:
            other = other.partition(" ")[2]
        elif self.meta.time_unit:
            one = one.removesuffix(f" {self.meta.time_unit}")
        return f"{one} – {other}"

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
