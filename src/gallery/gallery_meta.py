"""The record of a gallery: what embeddings say of themselves, and how they are searched and shown."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from src.gallery.cameras import Camera
from src.retrieval import EmbeddingsMeta


@dataclass(frozen=True)
class BuiltIndex:
    """The index that is searched.

    Attributes:
        kind: One of `src.retrieval.index.options.OPTIONS`.
        options: Of the kind.
        folder: Where it lies in the gallery's, if it is not the features that are searched.
    """

    kind: str = "exact"
    options: dict[str, Any] = field(default_factory=dict)
    folder: str = "index"


@dataclass(frozen=True)
class Collection:
    """A copy of a gallery in Milvus.

    Attributes:
        uri: Where Milvus is; None for a file in the gallery's folder.
        collection: Its name there.
    """

    uri: str | None
    collection: str


@dataclass(frozen=True)
class GalleryMeta(EmbeddingsMeta):
    """Contents of `meta.json` of a gallery, or of the embeddings of a run, which may be searched as well.

    Attributes:
        index: What is searched.
        time_unit: Of the timestamps, `"unix"` for seconds since 1970; None if it was not said.
        cameras: By number, where their names and places were given.
        videos: What `src.crop` said of each that the images are from.
        milvus: Its copy in Milvus, if it has one.
        blurred: Whether its pictures are copies without plates and faces.
        base: Of which building this is a later version; empty in galleries from before there were any.
        next_number: Of the next image that is added.
    """

    index: BuiltIndex = field(default_factory=BuiltIndex)
    time_unit: str | None = None
    cameras: dict[int, Camera] = field(default_factory=dict)
    videos: tuple[dict[str, Any], ...] = ()
    milvus: Collection | None = None
    blurred: bool = False
    base: str = ""
    next_number: int = 0

    @property
    def made_by(self) -> str:
        """Checkpoint and precision: embeddings of others are no use."""
        return made_by(self.checkpoint_sha, self.precision)

    def computed_by(self, engine: str) -> Self:
        """The record after some more of its embeddings were computed, by this engine."""
        engines = [*filter(None, self.engine.split(" + ")), engine]
        return replace(self, engine=" + ".join(dict.fromkeys(engines)))

    @classmethod
    def of(cls, meta: EmbeddingsMeta) -> Self:
        """The record of any embeddings."""
        return meta if isinstance(meta, cls) else cls(**vars(meta))


def made_by(checkpoint_sha: str, precision: str) -> str:
    """What embeddings are made by, as messages and folders say it."""
    return f"checkpoint {checkpoint_sha[:16]}, {precision}"
