"""Keeps a gallery that changes quick: what is deleted leaves the disk, what is new enters the index."""

import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np

from src.gallery.gallery_meta import GalleryMeta
from src.gallery.versions import (
    Slots,
    new_index_name,
    one_sentence,
    read_features,
    read_records,
    read_unwanted,
    write_gallery_part,
    write_gone,
)
from src.retrieval import Index

GONE = 0.25  # share of deleted slots above which they are folded away
TAIL = 0.1  # share of images behind an index's end above which it takes them up
_LEAST = 1000  # images that are compared without an index in any case


def needs_folding(slots: Slots) -> bool:
    """Whether so much is deleted that the rest is better written anew."""
    return (~slots.alive).sum() > GONE * len(slots)


def as_one_part(folder: Path, meta: GalleryMeta, slots: Slots) -> tuple[GalleryMeta, Slots]:
    """Writes what is not deleted as one part, and the index without the rest; images keep their numbers.

    Args:
        folder: Of the gallery.
        meta: The record.
        slots: Its images.

    Returns:
        The record of the new version, and its slots.
    """
    alive = slots.alive
    features = read_features(folder, meta, slots, alive)
    keys, numbers = slots.keys[alive], slots.numbers[alive]
    part = write_gallery_part(folder, features, read_records(folder, meta, slots, alive), keys, numbers)
    index = meta.index
    if (folder / index.folder).is_dir():
        changed = Index.load(folder / index.folder)
        indexed = alive[: len(changed)]
        changed.remove(np.flatnonzero(~indexed))
        changed.extend(features[int(indexed.sum()) :])
        index = replace(index, folder=new_index_name())
        with one_sentence(folder):
            changed.save(folder / index.folder)
    gone = write_gone(folder, np.empty(0, dtype=np.int64), read_unwanted(folder, meta))
    base = meta.base or secrets.token_hex(6)
    next_number = max(meta.next_number, int(slots.numbers.max(initial=-1)) + 1)
    meta = replace(meta, parts=(part,), gone=gone, index=index, base=base, next_number=next_number)
    return meta, Slots(keys, numbers, np.ones(len(keys), dtype=bool), (len(keys),))


def grown_index(folder: Path, meta: GalleryMeta, slots: Slots) -> GalleryMeta:
    """Takes images into the index that came after it, once they are many; the record names it."""
    if not (folder / meta.index.folder).is_dir():
        return meta
    index = Index.load(folder / meta.index.folder)
    if len(slots) - len(index) <= max(_LEAST, TAIL * len(index)):
        return meta
    index.extend(read_features(folder, meta, slots, np.arange(len(slots)) >= len(index)))
    name = new_index_name()
    with one_sentence(folder):
        index.save(folder / name)
    return replace(meta, index=replace(meta.index, folder=name))
