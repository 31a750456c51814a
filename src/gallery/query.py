"""Searches a gallery with pictures."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, ListConfig

from src.checkpoints.calibration_entry import require_calibration
from src.config.checks import one_or_more
from src.config.schema import EngineChoice
from src.data import image_path
from src.embed import Embedder, Image, Precision, image_files
from src.gallery.filters import COLUMNS, Filters
from src.gallery.gallery import Gallery, Hit
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.hit_probabilities import Judge, at_least, not_in_gallery
from src.gallery.search_answers import Answer, draw_answers
from src.gallery.track_search import TrackHit, Tracks, track_times
from src.methods.tta import Views
from src.runtime.console import console
from src.runtime.errors import ConfigError
from src.runtime.json_files import write_json
from src.runtime.provenance import file_sha


def run(cfg: DictConfig) -> list[list[Hit]]:
    """Searches, prints what was found, and draws and writes it if asked to.

    Args:
        cfg: The configuration of `src.search`.

    Returns:
        What was found, a list a query.

    Raises:
        ConfigError: If an option is wrong.
        ValueError: If a filter names what is not there.
        DataError: If a query cannot be read.
    """
    if cfg.top < 1:
        raise ConfigError(f"top is {cfg.top}, expected at least 1.")
    gallery = Gallery.open(cfg.index, cfg.store, cfg.milvus.uri, cfg.milvus.token)
    queries = _queries(cfg.query)
    filters = _filters(cfg, gallery)
    filters.keep(gallery.table)  # a wrong name is refused before the checkpoint is loaded
    tracks = None if cfg.by == "image" else Tracks(gallery, cfg.tracks)
    if tracks is not None and not tracks.any:
        raise ConfigError("by is track, but no two images of the gallery are of one track (track_id); pass by=image.")
    embedder = matching_embedder(gallery, cfg.checkpoint, cfg.device, cfg.engine)
    judge = Judge.of(gallery, embedder, cfg.prior)
    if judge is None and (cfg.min_probability is not None or cfg.prior is not None):
        require_calibration(None, embedder.checkpoint)
    threshold = -1.0 if cfg.threshold is None else cfg.threshold
    images: list[Image] = [*queries]
    features = embedder(images, cfg.query_domain)
    found: list[list[Hit]]
    if tracks is None:
        found = gallery.search(features, cfg.top, filters, threshold)
    else:
        found = [[*tracks.search(one[None], cfg.top, filters, threshold)] for one in features]
    if judge is not None:
        pictures = [None] * len(found) if tracks is None else features
        found = [judge.judged(hits, cfg.query_domain, one) for hits, one in zip(found, pictures, strict=True)]
    answers = []
    for query, hits in zip(queries, found, strict=True):
        likely = at_least(hits, cfg.min_probability or 0.0)
        records = [_record(gallery, hit) for hit in likely]
        answers.append(Answer(query, likely, records, not_in_gallery(hits)))
    if cfg.json is not None:
        write_json(Path(cfg.json), [answer.plain() for answer in answers])
    if cfg.picture is not None:
        draw_answers(answers, gallery, Path(cfg.picture))
    for answer in answers:
        answer.print(gallery)
    if judge is not None:
        console().print(judge.sentence, style="dim", highlight=False, markup=False)
    return [answer.hits for answer in answers]


def matching_embedder(gallery: Gallery, checkpoint: str | None, device: str, engine: EngineChoice = "auto") -> Embedder:
    """The embedder of a gallery's checkpoint, with the precision, options and views the gallery was embedded with.

    Args:
        gallery: The gallery.
        checkpoint: Where the checkpoint is now; None for where it was.
        device: See `Embedder`.
        engine: See `Embedder`; not the gallery's, as engines differ by rounding alone.

    Raises:
        ConfigError: If it is not there any more, or is another one.
    """
    return embedder_of(gallery.meta, checkpoint, device, engine=engine)


def embedder_of(meta: GalleryMeta, checkpoint: str | None, device: str, **others: Any) -> Embedder:
    """The same of a gallery's record.

    Args:
        meta: The record.
        checkpoint: See `matching_embedder`.
        device: See `Embedder`.
        others: Other arguments of `Embedder`.

    Raises:
        ConfigError: See `matching_embedder`.
    """
    path = Path(checkpoint or meta.checkpoint)
    if not path.is_file():
        raise ConfigError(f"The gallery's checkpoint {path} is not here; pass checkpoint=<where it is>.")
    if file_sha(path) != meta.checkpoint_sha:
        raise ConfigError(
            f"{path} is not the checkpoint that embedded the gallery (SHA-256 {meta.checkpoint_sha[:16]}…); pass "
            "that one, or build the index again."
        )
    precision = cast(Precision, meta.precision)
    embedder = Embedder(path, device=device, precision=precision, options=meta.method, **others)
    embedder.method.average_over(Views(**meta.views))
    return embedder


def _queries(given: str | ListConfig) -> list[Path]:
    paths = [Path(path) for path in one_or_more(given)]
    return [file for path in paths for file in (image_files(path) if path.is_dir() else [path])]


def _filters(cfg: DictConfig, gallery: Gallery) -> Filters:
    after, before = (None if cfg[name] is None else gallery.parse_time(cfg[name]) for name in ("after", "before"))
    chosen = {}
    for name, column in COLUMNS.items():
        chosen[name] = [*cfg[name]] if isinstance(cfg[name], ListConfig) else [cfg[name]]
        # null is no filter, unless it is what something is called.
        if cfg[name] is None and "null" not in set(gallery.table[column].astype(str).str.casefold()):
            chosen[name] = []
    return Filters(**chosen, after=after, before=before)


def _record(gallery: Gallery, hit: Hit) -> dict[str, Any]:
    """Record of an image, ready for JSON; of a track, that of its image most like the query, its times and images."""
    record = gallery.describe(hit.row)
    if not isinstance(hit, TrackHit):
        return record
    return record | track_times(gallery, hit) | {"images": [str(image_path(gallery.table, row)) for row in hit.rows]}
