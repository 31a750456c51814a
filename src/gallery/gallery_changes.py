"""Images that come and go: a gallery is changed without being built anew."""

import logging
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.data import fingerprint
from src.embed import Embedder
from src.gallery.blurred_copies import forget_copies
from src.gallery.embedding_images import embed_missing
from src.gallery.folding import as_one_part, grown_index, needs_folding
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.image_keys import Keys, image_keys
from src.gallery.links import keep_links
from src.gallery.milvus import Milvus
from src.gallery.shards import Shards
from src.gallery.versions import (
    Slots,
    commit,
    made_by_index,
    read_features,
    read_records,
    read_slots,
    read_unwanted,
    write_gallery_part,
    write_gone,
    writing,
)
from src.gallery.videos import with_more_videos
from src.retrieval import DataVersion, read_meta
from src.retrieval.embeddings import META_FILE, read_roads
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha

log = logging.getLogger(__name__)


class Changes:
    """Writer of a gallery's changes; each is there as a whole or not at all, and one writer waits for the other.

    Args:
        folder: Of the gallery.
        milvus: Where its copy is, if it has one.

    Raises:
        ConfigError: If `src.index` has not made it, or its copy in Milvus is left out.
    """

    def __init__(self, folder: Path, milvus: Milvus | None = None) -> None:
        if not (folder / META_FILE).is_file():
            raise ConfigError(f"out={folder} is no gallery yet; build it first: src.index checkpoint=… images=… out=….")
        meta = read_meta(folder, GalleryMeta)
        if not made_by_index(folder, meta):
            raise ConfigError(f"{folder} holds embeddings that src.index has not made, and cannot be changed.")
        if meta.milvus is not None and milvus is None:
            raise ConfigError(f"{folder} is searched in Milvus, which has to be changed too; pass store=milvus.")
        self._folder, self._milvus = folder, milvus
        self._known: tuple[Embedder, str] | None = None

    def add(
        self, table: pd.DataFrame, embedder: Embedder, images: Path | None = None, *, wanted_before: bool = True
    ) -> int:
        """Embeds what is new in a table and adds it behind the others.

        Args:
            table: Records of images; those that the gallery has are left as they are.
            embedder: Of the gallery's checkpoint.
            images: Where the table is from; what `src.crop` says of videos beside it is remembered.
            wanted_before: Whether images that were deleted on request may come back.

        Returns:
            How many there are more.

        Raises:
            ConfigError: If the checkpoint is another one, or tracks have numbers that others have.
        """
        with writing(self._folder):
            meta, slots = self._read()
            if meta.checkpoint_sha != self._sha(embedder) or meta.precision != embedder.precision:
                raise ConfigError(
                    f"{self._folder} is embedded by {meta.made_by}, and {embedder.checkpoint} is another."
                )
            keys = image_keys(table)
            there = slots.keys[slots.alive]
            if not wanted_before:
                there = np.concatenate([there, read_unwanted(self._folder, meta)])
            fresh = np.intersect1d(np.unique(keys, return_index=True)[1], np.flatnonzero(~np.isin(keys, there)))
            if len(fresh) == 0:
                return 0
            table, keys = table.iloc[fresh].reset_index(drop=True), keys[fresh]
            self._refuse_shared_tracks(meta, slots, table)
            shards = Shards(self._folder, meta.made_by)
            embed_missing(embedder, shards, table, keys, there[:0])
            known, features = shards.known()
            rows = np.flatnonzero(np.isin(keys, known))
            if len(rows):
                meta = (meta if images is None else with_more_videos(meta, images)).computed_by(embedder.engine)
                places = torch.from_numpy(np.searchsorted(known, keys[rows]))
                self._append(meta, slots, table.iloc[rows], keys[rows], features[places])
            shards.clear()
        return len(rows)

    def delete(self, choose: Callable[[pd.DataFrame], NDArray[np.bool_]], *, on_request: bool = True) -> int:
        """Deletes images.

        Args:
            choose: Which, `(N,)`, of the table `(N, …)` of all.
            on_request: Whether a table that is watched shall not bring them back.

        Returns:
            How many.
        """
        with writing(self._folder):
            meta, slots = self._read()
            records = read_records(self._folder, meta, slots, slots.alive)
            chosen = choose(records)
            if not chosen.any():
                return 0
            places = np.flatnonzero(slots.alive)[chosen]
            unwanted = read_unwanted(self._folder, meta)
            if on_request:
                unwanted = np.union1d(unwanted, slots.keys[places])
            there = slots.numbers[slots.alive]
            slots.alive[places] = False
            gone = write_gone(self._folder, np.flatnonzero(~slots.alive), unwanted)
            self._commit(replace(meta, gone=gone, data=_changed(meta, str(slots.numbers[places]))), slots, there)
            forget_copies(self._folder, records[chosen], records[~chosen])
        return len(places)

    def fold(self) -> None:
        """Writes all into one part, so that nothing of what is deleted stays on the disk."""
        with writing(self._folder):
            meta, slots = self._read()
            self._commit(meta, slots, slots.numbers[slots.alive], fold=True)

    def _sha(self, embedder: Embedder) -> str:
        """SHA-256 of an embedder's checkpoint, which is read once."""
        if self._known is None or self._known[0] is not embedder:
            self._known = embedder, file_sha(embedder.checkpoint)
        return self._known[1]

    def _read(self) -> tuple[GalleryMeta, Slots]:
        meta = read_meta(self._folder, GalleryMeta)
        slots = read_slots(self._folder, meta)
        if not meta.base:  # of before there were versions
            meta, slots = as_one_part(self._folder, meta, slots)
        return meta, slots

    def _append(self, meta: GalleryMeta, slots: Slots, table: pd.DataFrame, keys: Keys, features: Tensor) -> None:
        """Adds a part; parts before it that are no larger become one with it, so that there are never many."""
        numbers = np.arange(len(keys)) + max(meta.next_number, int(slots.numbers.max(initial=-1)) + 1)
        keep, count = len(slots.sizes), len(keys)
        while keep and slots.sizes[keep - 1] <= count:
            keep, count = keep - 1, count + slots.sizes[keep - 1]
        merged = np.arange(len(slots)) >= sum(slots.sizes[:keep])
        written = keys, numbers, features, table
        if merged.any():
            features = torch.cat([read_features(self._folder, meta, slots, merged), features])
            table = pd.concat([read_records(self._folder, meta, slots, merged), table])
            written = np.append(slots.keys[merged], keys), np.append(slots.numbers[merged], numbers), features, table
        part = write_gallery_part(self._folder, written[2], written[3], written[0], written[1])
        after = Slots(
            np.append(slots.keys, keys),
            np.append(slots.numbers, numbers),
            np.append(slots.alive, np.ones(len(keys), dtype=bool)),
            (*slots.sizes[:keep], count),
        )
        parts = (*meta.parts[:keep], part)
        said = replace(
            meta, parts=parts, next_number=int(numbers[-1]) + 1, data=_changed(meta, fingerprint(table[-len(keys) :]))
        )
        self._commit(said, after, slots.numbers[slots.alive])

    def _commit(self, meta: GalleryMeta, slots: Slots, there: NDArray[np.int64], *, fold: bool = False) -> None:
        """Makes it the version that counts; Milvus has what is new before, and what is deleted until after."""
        now = slots.numbers[slots.alive]

        def images(numbers: NDArray[np.int64]) -> tuple[NDArray[np.float32], pd.DataFrame]:
            wanted = slots.alive & np.isin(slots.numbers, numbers)
            features = read_features(self._folder, meta, slots, wanted).numpy()
            return features, read_records(self._folder, meta, slots, wanted)

        if fold or needs_folding(slots):
            meta, slots = as_one_part(self._folder, meta, slots)
        else:
            meta = grown_index(self._folder, meta, slots)
        copy = None if meta.milvus is None else meta.milvus.collection
        if copy is not None and self._milvus is not None:
            self._milvus.change(copy, there, np.union1d(there, now), images)
        commit(self._folder, meta, read_roads(self._folder))
        if copy is not None and self._milvus is not None:
            self._milvus.change(copy, np.union1d(there, now), now, images)
        keep_links(self._folder, lambda: read_records(self._folder, meta, slots, slots.alive))

    def _refuse_shared_tracks(self, meta: GalleryMeta, slots: Slots, table: pd.DataFrame) -> None:
        """A track goes on in the folder that it began in; elsewhere its number is another vehicle's."""
        tracks = table.loc[table["track_id"] >= 0, ["root", "track_id"]].drop_duplicates()
        if tracks.empty:
            return
        there = read_records(self._folder, meta, slots, slots.alive)
        there = there.loc[there["track_id"].isin(tracks["track_id"]), ["root", "track_id"]].drop_duplicates()
        both = there.merge(tracks, on="track_id")
        if len(both := both[both["root_x"] != both["root_y"]]):
            root, track, other = both.iloc[0]
            raise ConfigError(
                f"Track {track} of {other} has the number of a track of {root}, which is in the gallery: crop both "
                "into one folder, where tracks have numbers of their own."
            )


def _changed(meta: GalleryMeta, said: str) -> DataVersion:
    """The data version after a change: its fingerprint follows from the last and what was changed."""
    return replace(meta.data, fingerprint=sha256(f"{meta.data.fingerprint} {said}".encode()).hexdigest()[:16])
