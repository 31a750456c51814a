"""Writes a version of a gallery that shares no file with the last."""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from src.data import fingerprint
from src.gallery.gallery_meta import BuiltIndex, Collection, GalleryMeta
from src.gallery.image_keys import Keys
from src.gallery.links import keep_links
from src.gallery.milvus import Milvus, collection_name
from src.gallery.versions import commit, new_index_name, one_sentence, read_unwanted, write_gallery_part, write_gone
from src.retrieval import DataVersion, Embeddings, Index, IndexKind
from src.runtime.progress import working

log = logging.getLogger(__name__)


def write_version(
    folder: Path,
    images: Embeddings,
    keys: Keys,
    numbers: NDArray[np.int64],
    *,
    before: GalleryMeta | None,
    kind: IndexKind,
    options: Mapping[str, Any] | None = None,
    milvus: Milvus | None = None,
    uri: str | None = None,
) -> Embeddings:
    """Writes images and their index, and makes them the version that counts.

    Args:
        folder: Of the gallery, whose writers are kept out meanwhile.
        images: What it shall hold; of their record, what does not depend on where they lie.
        keys: Of the images.
        numbers: Of the images, ascending.
        before: The record of the last version, if there is one.
        kind: Of the index.
        options: Of the index.
        milvus: Where the embeddings are copied to, if anywhere.
        uri: Address of that.

    Returns:
        What the folder holds.
    """
    about, table, features = GalleryMeta.of(images.meta), images.table, images.features
    index = _saved_index(folder, features, kind, options, about)
    next_number = max(int(numbers.max(initial=-1)) + 1, 0 if before is None else before.next_number)
    collection = None
    if milvus is not None:
        said = f"{about.made_by}, {folder.resolve()}, {next_number}"
        collection = Collection(uri, collection_name(table, keys, numbers, said))
        milvus.fill(collection.collection, features.numpy(), table, numbers)
    meta = replace(
        about,
        data=DataVersion(table["dataset"].iloc[0], fingerprint(table)),
        dimensions=features.shape[1],
        index=index,
        milvus=collection,
        parts=(write_gallery_part(folder, features, table, keys, numbers),),
        gone=write_gone(
            folder,
            np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.int64) if before is None else read_unwanted(folder, before),
        ),
        base=secrets.token_hex(6),
        next_number=next_number,
    )
    commit(folder, meta, images.camera_distances)
    keep_links(folder, lambda: table)
    last = None if before is None else before.milvus
    if milvus is not None and last is not None and last.uri == uri and last != collection:
        milvus.drop(last.collection)
    log.info("%d images of %d dimensions: %s", len(table), features.shape[1], folder)
    return Embeddings(features, np.arange(len(table)), table, images.camera_distances, meta)


def _saved_index(
    folder: Path, features: Tensor, kind: IndexKind, options: Mapping[str, Any] | None, about: GalleryMeta
) -> BuiltIndex:
    if kind in ("exact", "torch"):  # these two search the features themselves
        return BuiltIndex(kind)
    with working(f"Building the {kind} index"):
        index = Index.build(features, kind, built_from={"checkpoint_sha": about.checkpoint_sha}, **(options or {}))
    built = BuiltIndex(kind, dict(index.options), new_index_name())
    with one_sentence(folder):
        index.save(folder / built.folder)
    return built
