"""The record of a gallery: what embeddings say of themselves, and how they are searched and shown."""

from dataclasses import dataclass, field
from typing import Any, Self

from src.gallery.cameras import Camera
from src.retrieval import EmbeddingsMeta


@dataclass(frozen=True)
class BuiltIndex:
    """The index that is searched: its kind, one of `src.retrieval.index.options.OPTIONS`, and its options."""

    kind: str = "exact"
    options: dict[str, Any] = field(default_factory=dict)


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
    """

    index: BuiltIndex = field(default_factory=BuiltIndex)
    time_unit: str | None = None
    cameras: dict[int, Camera] = field(default_factory=dict)
    videos: tuple[dict[str, Any], ...] = ()
    milvus: Collection | None = None

    @classmethod
    def of(cls, meta: EmbeddingsMeta) -> Self:
        """The record of any embeddings."""
        return meta if isinstance(meta, cls) else cls(**vars(meta))
