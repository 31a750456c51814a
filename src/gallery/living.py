"""A gallery that takes up crops while it is searched."""

import asyncio
import logging
from pathlib import Path
from typing import cast

import numpy as np
import torch

from src.embed import Embedder
from src.gallery.build import build_gallery
from src.gallery.gallery import Gallery
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.gallery_records import own_images
from src.gallery.links import read_links
from src.gallery.videos import with_videos
from src.retrieval import Embeddings, IndexKind
from src.runtime.errors import ConfigError

log = logging.getLogger(__name__)


class LivingGallery:
    """Looks at a table of crops again and again, and embeds what is new in it.

    Images keep their rows as long as none is gone, so that a page that shows them can go on.

    Args:
        gallery: As it is now.
        folder: Where it is kept.
        embedder: Of its checkpoint.
        images: A table that `src.crop` writes, or any CSV file or folder that `src.index` takes.
        seconds: Between two looks.

    Attributes:
        gallery: As it is now; another object after each change.

    Raises:
        ConfigError: If the gallery is searched in Milvus or in an index that misses some images.
    """

    def __init__(self, gallery: Gallery, folder: Path, embedder: Embedder, images: Path, seconds: float) -> None:
        kind, milvus = gallery.meta.index.kind, gallery.meta.milvus
        if milvus or kind not in ("exact", "torch"):
            raise ConfigError(
                f"watch is for galleries that are searched in their folder with kind=exact or torch, this one has "
                f"{'Milvus' if milvus else kind}; index it anew."
            )
        self.gallery = gallery
        self._folder, self._embedder, self._images, self._seconds = folder, embedder, images, seconds
        self._seen: object = None

    async def watch(self) -> None:
        """Looks until it is cancelled; what is wrong with the table is said and tried again."""
        while True:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self.gallery = await asyncio.to_thread(self.updated)
                except (ValueError, OSError) as error:
                    log.warning("The gallery stays as it is: %s", error)
            await asyncio.sleep(self._seconds)

    def updated(self) -> Gallery:
        """The gallery with what is new; images that it has keep their order."""
        before = self.gallery
        found = build_gallery(
            own_images(self._images),
            self._embedder,
            self._folder,
            with_videos(GalleryMeta(time_unit=before.meta.time_unit, cameras=before.meta.cameras), self._images),
            before.camera_distances,
            kind=cast(IndexKind, before.meta.index.kind),
        )
        places = {key: row for row, key in enumerate(_keys(before))}
        last = len(places)
        order = np.argsort([places.get(key, last) for key in _keys(Gallery(found))], kind="stable")
        table = found.table.iloc[found.rows[order]].reset_index(drop=True)
        features = found.features[torch.from_numpy(order)]
        if len(table) != len(before):
            log.info("The gallery has %d images now, %d before.", len(table), len(before))
        after = Gallery(Embeddings(features, np.arange(len(table)), table, found.camera_distances, found.meta))
        after.links = read_links(self._folder)
        return after

    def _stamp(self) -> object:
        files = [self._images] if self._images.is_file() else [*self._images.rglob("*")]
        try:
            return [(str(file), file.stat().st_mtime_ns) for file in files]
        except OSError:
            return None


def _keys(gallery: Gallery) -> list[tuple[str, str]]:
    return list(zip(gallery.table["path"].tolist(), gallery.table["box"].tolist(), strict=True))
