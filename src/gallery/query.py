"""Searches a gallery with pictures."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, ListConfig
from rich.table import Table

from src.checkpoints.calibration_entry import require_calibration
from src.config.checks import one_or_more
from src.config.schema import EngineChoice
from src.data import image_path, read_image
from src.embed import Embedder, Image, Precision, image_files
from src.figures.search_results import draw_search
from src.gallery.filters import COLUMNS, Filters
from src.gallery.gallery import Gallery, Hit
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.hit_probabilities import Judge, at_least, not_in_gallery
from src.gallery.track_search import TrackHit, Tracks
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
    absent = [not_in_gallery(hits) for hits in found]
    found = [at_least(hits, cfg.min_probability or 0.0) for hits in found]
    facts = [[_facts(gallery, tracks, hit) for hit in hits] for hits in found]
    for query, hits, known, missing in zip(queries, found, facts, absent, strict=True):
        _print(gallery, query, hits, known, missing)
    if judge is not None:
        console().print(judge.sentence, style="dim", highlight=False, markup=False)
    if cfg.json is not None:
        write_json(Path(cfg.json), _plain(queries, found, facts, absent))
    if cfg.picture is not None:
        draw_search(
            [read_image(query) for query in queries],
            [query.name for query in queries],
            [
                [(gallery.image(hit.row), _above(hit), _caption(known)) for hit, known in zip(hits, one, strict=True)]
                for hits, one in zip(found, facts, strict=True)
            ],
            Path(cfg.picture),
        )
    return found


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


def _facts(gallery: Gallery, tracks: Tracks | None, hit: Hit) -> dict[str, Any]:
    """Record of an image, ready for JSON; of a track, that of its image most like the query, its times and images."""
    facts = gallery.describe(hit.row)
    if tracks is None or not isinstance(hit, TrackHit):
        return facts
    return facts | tracks.times(hit) | {"images": [str(image_path(gallery.table, row)) for row in hit.rows]}


def _print(gallery: Gallery, query: Path, hits: list[Hit], facts: list[dict[str, Any]], missing: bool | None) -> None:
    columns = ("vehicle", "global_id", "camera", "time", "domain", "colour", "type", "images")
    shown = [name for name in columns if any(fact.get(name) is not None for fact in facts)]
    table = Table(title=str(query), title_justify="left")
    numbers = ["score"] if all(hit.probability is None for hit in hits) else ["probability", "score"]
    for name in ("", *numbers, *shown, "image"):
        right = name in ("", *numbers, "vehicle", "global_id", "camera", "time", "images")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for place, (hit, fact) in enumerate(zip(hits, facts, strict=True), start=1):
        known = (_cell(fact[name]) for name in shown)
        told = (f"{getattr(hit, name):.3f}" for name in numbers)
        table.add_row(str(place), *told, *known, str(gallery.table.loc[hit.row, "path"]))
    if missing:
        console().print(f"{query}: probably not in the gallery; the nearest image shows another vehicle.")
    console().print(table if hits else f"{query}: nothing passes the filters and the threshold.")


def _cell(fact: Any) -> str:
    return str(len(fact)) if isinstance(fact, list) else "" if fact is None else str(fact)


def _plain(
    queries: list[Path], found: list[list[Hit]], facts: list[list[dict[str, Any]]], absent: list[bool | None]
) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "query": str(query),
            "not_in_gallery": missing,
            "hits": [
                {"rank": rank, "score": hit.score, "probability": hit.probability} | known
                for rank, (hit, known) in enumerate(zip(hits, one, strict=True), start=1)
            ],
        }
        for query, hits, one, missing in zip(queries, found, facts, absent, strict=True)
    ]


def _above(hit: Hit) -> str:
    return f"{hit.score:.3f}" if hit.probability is None else f"p {hit.probability:.3f}"


def _caption(fact: dict[str, Any]) -> str:
    camera = None if fact["camera"] is None else f"camera {fact['camera']}"
    time = fact["time"] and fact["time"].replace(" – ", " –\n")  # of a track, wider than its picture
    return "\n".join(text for text in (camera, time, fact["domain"]) if text)
