"""Keys of the configurations of commands around galleries; `conf/<command>.yaml` says what each means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from src.config.schema import EngineChoice, Texts
from src.runtime.ranges import AboveZero, Natural, NotNegative, Positive, Share


@dataclass(frozen=True)
class IndexConfig:
    """The top-level keys of `conf/index.yaml`."""

    paths: Any
    checkpoint: str | None
    out: str
    images: str | None
    add: str | None
    delete: Any
    expire: Any
    compact: bool
    reembed: bool
    splits: Sequence[str]
    domain: Literal["day", "night"] | None
    blur: str | None
    blur_names: Any
    blur_score: Share
    cameras: str | None
    time_unit: str
    kind: str
    options: Any
    store: Literal["folder", "milvus"]
    milvus: Any
    device: str
    engine: EngineChoice
    precision: Any
    batch_size: Positive
    workers: Natural | None
    data: Any = None


@dataclass(frozen=True)
class SearchConfig:
    """The top-level keys of `conf/search.yaml`."""

    paths: Any
    index: str
    store: Literal["folder", "milvus"] | None
    milvus: Any
    query: Texts
    by: Literal["image", "track"]
    tracks: Literal["mean", "weighted"]
    top: Positive
    threshold: float | None
    min_probability: Share | None
    prior: Share | None
    camera: Any
    domain: Any
    colour: Any
    type: Any
    after: Any
    before: Any
    query_domain: Literal["day", "night"] | None
    checkpoint: str | None
    device: str
    engine: EngineChoice
    picture: str | None
    json: str | None


@dataclass(frozen=True)
class AppConfig:
    """The top-level keys of `conf/app.yaml`."""

    paths: Any
    index: str
    store: Literal["folder", "milvus"] | None
    milvus: Any
    host: str
    port: Natural
    checkpoint: str | None
    device: str
    engine: EngineChoice
    prior: Share | None
    max_upload_mb: Positive
    max_megapixels: Positive
    watch: str | None
    watch_every: AboveZero
    tracks: Literal["mean", "weighted"]


@dataclass(frozen=True)
class CropConfig:
    """The top-level keys of `conf/crop.yaml`."""

    paths: Any
    video: str | None
    camera: Any
    start: Any
    place: Any
    region: Any
    videos: str | None
    out: str
    detector: str
    weights: str | None
    names: Any
    classes: Sequence[str]
    score: Share
    min_side: Natural
    every: Any
    tracker: Literal["bytetrack", "ocsort"]
    lost: AboveZero
    k: Positive
    checkpoint: str | None
    join_gap: NotNegative
    join_score: float
    domain: Literal["auto", "day", "night"] | None
    dusk: float
    segment: AboveZero
    batch_size: Positive
    processes: Positive | None
    device: str
    engine: EngineChoice


@dataclass(frozen=True)
class LinkConfig:
    """The top-level keys of `conf/link.yaml`."""

    paths: Any
    index: str
    fit: str | None
    threshold: float | None
    min_probability: Share | None
    prior: Share | None
    weight: NotNegative | None
    travel: str | None
    same_camera: bool
    after: Any
    before: Any
