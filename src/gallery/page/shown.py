"""What the page shows: a gallery, or the latest version of one that changes."""

from src.embed import Embedder
from src.gallery.gallery import Gallery
from src.gallery.living import LivingGallery
from src.gallery.track_search import TrackFeature, Tracks


class Shown:
    """Gallery that is searched now, its tracks and its embedder, and the share of its images that are right."""

    def __init__(
        self, gallery: Gallery | LivingGallery, embedder: Embedder, feature: TrackFeature, prior: float | None
    ) -> None:
        self.living = gallery if isinstance(gallery, LivingGallery) else None
        self._embedder, self.prior = embedder, prior
        self._tracks = Tracks(gallery.gallery if isinstance(gallery, LivingGallery) else gallery, feature)

    async def now(self) -> tuple[Tracks, Embedder]:
        """The tracks of the gallery as it is now, and what embeds as it does."""
        if self.living is not None:
            gallery, self._embedder = await self.living.now()
            if gallery is not self._tracks.gallery:
                self._tracks = Tracks(gallery, self._tracks.feature)
        return self._tracks, self._embedder
