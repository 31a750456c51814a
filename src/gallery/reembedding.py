"""A gallery embedded anew: by another checkpoint, beside the old embeddings, which are searched until all is there."""

import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from src.data import DataError
from src.embed import Embedder
from src.gallery.build import about_embedder
from src.gallery.embedding_images import embed_missing
from src.gallery.gallery_meta import GalleryMeta, made_by
from src.gallery.milvus import Milvus
from src.gallery.shards import Shards
from src.gallery.versions import read_records, read_slots, writing
from src.gallery.whole_version import write_version
from src.retrieval import Embeddings, IndexKind, read_meta
from src.retrieval.embeddings import read_roads
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha

log = logging.getLogger(__name__)


def reembed(folder: Path, embedder: Embedder, milvus: Milvus | None = None, uri: str | None = None) -> Embeddings:
    """Embeds the images of a gallery anew, and puts them in place of the old embeddings in one step.

    Until then others search and change the gallery; what they add is embedded too, before the switch. Killed and
    called again, it goes on. Images keep their numbers; those that cannot be read any more are named and leave.

    Args:
        folder: Of the gallery.
        embedder: Of the new checkpoint.
        milvus: Where its copy is, if it has one.
        uri: Address of that.

    Returns:
        What the folder holds then.

    Raises:
        ConfigError: If this checkpoint has embedded it already, or another process is at it.
        DataError: If no image can be read.
    """
    sha = file_sha(embedder.checkpoint)
    shards = Shards(folder, made_by(sha, embedder.precision))
    with writing(folder, patience=0, lock=".reembed.lock"):
        if read_meta(folder, GalleryMeta).made_by == made_by(sha, embedder.precision):
            raise ConfigError(f"{folder} is embedded by {embedder.checkpoint} already; reembed=true is for another.")
        tried = np.empty(0, dtype=np.int64)
        while True:
            with writing(folder):
                meta = read_meta(folder, GalleryMeta)
                slots = read_slots(folder, meta)
                table, keys = read_records(folder, meta, slots, slots.alive), slots.keys[slots.alive]
                if np.isin(keys, tried).all():
                    known, features = shards.known()
                    readable = np.flatnonzero(np.isin(keys, known))
                    if len(readable) == 0:
                        raise DataError(f"None of the {len(keys)} images of {folder} can be read.")
                    places = torch.from_numpy(np.searchsorted(known, keys[readable]))
                    found = write_version(
                        folder,
                        Embeddings(
                            features[places],
                            np.arange(len(readable)),
                            table.iloc[readable].reset_index(drop=True),
                            read_roads(folder),
                            about_embedder(meta, embedder, sha),
                        ),
                        keys[readable],
                        slots.numbers[slots.alive][readable],
                        before=meta,
                        kind=cast(IndexKind, meta.index.kind),
                        options=_options(meta, features.shape[1]),
                        milvus=milvus,
                        uri=uri,
                    )
                    shards.clear()
                    return found
            embed_missing(embedder, shards, table, keys, tried)
            tried = np.union1d(tried, keys)


def _options(meta: GalleryMeta, dimensions: int) -> dict[str, Any]:
    """Of the index; a compression that does not divide the new embeddings is chosen anew."""
    options = dict(meta.index.options)
    if options.get("pq_bytes") and dimensions % options["pq_bytes"]:
        options["pq_bytes"] = None
    return options
