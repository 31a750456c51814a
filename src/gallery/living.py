"""A gallery that changes while it is searched."""

import asyncio
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from src.embed import Embedder
from src.gallery.gallery import Gallery
from src.gallery.gallery_changes import Changes
from src.gallery.gallery_records import own_images
from src.gallery.image_keys import image_keys
from src.gallery.query import embedder_of
from src.runtime.errors import ConfigError

log = logging.getLogger(__name__)


class LivingGallery:
    """A gallery as its folder has it now, whoever changes that; takes up what is new in a table of crops if told to.

    Args:
        gallery: As it is now.
        folder: Where it is kept.
        embedder: Of its checkpoint.
        images: A table that `src.crop` writes, or any CSV file or folder that `src.index` takes; None for none.
        seconds: Between two looks at it.

    Attributes:
        gallery: As it was last seen; another object after each change.
        embedder: Of its checkpoint.
        images: The table.

    Raises:
        ConfigError: If there is a table and the gallery cannot be changed.
    """

    def __init__(
        self, gallery: Gallery, folder: Path, embedder: Embedder, images: Path | None = None, seconds: float = 10
    ) -> None:
        if images is not None and gallery.meta.blurred:
            raise ConfigError(f"{folder} has blurred pictures, which watch= cannot make; use src.index add=… blur=….")
        self.gallery, self.embedder, self.images = gallery, embedder, images
        self._folder, self._seconds = folder, seconds
        self._changes = None if images is None else Changes(folder, gallery.milvus)
        self._looked: object = None
        self._refreshing = asyncio.Lock()

    async def now(self) -> tuple[Gallery, Embedder]:
        """The gallery as it is now, and the embedder of its checkpoint."""
        if self.gallery.changed:
            async with self._refreshing:
                await asyncio.to_thread(self._refresh)
        return self.gallery, self.embedder

    async def watch(self) -> None:
        """Looks at the table until it is cancelled; what is wrong with it is said and tried again."""
        while self.images is not None:
            stamp = self._stamp(self.images)
            if stamp != self._looked:
                self._looked = stamp
                try:
                    await asyncio.to_thread(self.take_up, self.images)
                except (ValueError, OSError) as error:
                    log.warning("The gallery stays as it is: %s", error)
                    if isinstance(error, ConfigError):  # another process may be writing
                        self._looked = None
            await asyncio.sleep(self._seconds)

    def take_up(self, images: Path) -> None:
        """Adds what is new in a table, and deletes what has left it; not what was deleted from the gallery before."""
        table = own_images(images)
        keys, root = image_keys(table), table["root"].iloc[0]

        def left(records: pd.DataFrame) -> np.ndarray:
            mine = (records["root"] == root).to_numpy()
            gone = mine.copy()
            gone[mine] = ~np.isin(image_keys(records[mine]), keys)
            return gone

        if self._changes is not None:
            added = self._changes.add(table, self.embedder, images, wanted_before=False)
            deleted = self._changes.delete(left, on_request=False)
            if added or deleted:
                log.info("%d images are new in the gallery, %d have left it.", added, deleted)

    def _refresh(self) -> None:
        if not self.gallery.changed:
            return
        try:
            gallery = self.gallery.refreshed()
            if gallery.meta.checkpoint_sha != self.gallery.meta.checkpoint_sha:
                self.embedder = embedder_of(gallery.meta, None, str(self.embedder.device))
        except (ValueError, OSError) as error:
            log.warning("The page goes on with the gallery as it was: %s", error)
            return
        self.gallery = gallery

    def _stamp(self, images: Path) -> object:
        files = [images] if images.is_file() else [*images.rglob("*")]
        try:
            return [(str(file), file.stat().st_mtime_ns) for file in files]
        except OSError:
            return None
