"""Searches a gallery with pictures."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, ListConfig
from rich.table import Table

from src.checkpoints.calibration_entry import require_calibration
from src.config.checks import one_or_more
from src.config.schema import EngineChoice
from src.data import read_image
from src.embed import Embedder, Image, Precision, image_files
from src.figures.search_results import draw_search
from src.gallery.filters import COLUMNS, Filters
from src.gallery.gallery import Gallery, Hit
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.hit_probabilities import Judge, at_least, not_in_gallery
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
    embedder = matching_embedder(gallery, cfg.checkpoint, cfg.device, cfg.engine)
    judge = Judge.of(gallery, embedder, cfg.prior)
    if judge is None and (cfg.min_probability is not None or cfg.prior is not None):
        require_calibration(None, embedder.checkpoint)
    threshold = -1.0 if cfg.threshold is None else cfg.threshold
    images: list[Image] = [*queries]
    found = gallery.search(embedder(images, cfg.query_domain), cfg.top, filters, threshold)
    if judge is not None:
        found = [judge.judged(hits, cfg.query_domain) for hits in found]
    absent = [not_in_gallery(hits) for hits in found]
    found = [at_least(hits, cfg.min_probability or 0.0) for hits in found]
    for query, hits, missing in zip(queries, found, absent, strict=True):
        _print(gallery, query, hits, missing)
    if judge is not None:
        console().print(judge.sentence, style="dim", highlight=False, markup=False)
    if cfg.json is not None:
        write_json(Path(cfg.json), _plain(gallery, queries, found, absent))
    if cfg.picture is not None:
        draw_search(
            [read_image(query) for query in queries],
            [query.name for query in queries],
            [[(gallery.image(hit.row), _above(hit), _caption(gallery, hit)) for hit in hits] for hits in found],
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


def _print(gallery: Gallery, query: Path, hits: list[Hit], missing: bool | None) -> None:
    facts = [gallery.describe(hit.row) for hit in hits]
    shown = [name for name in ("vehicle", "camera", "time", "domain", "colour", "type") if any(f[name] for f in facts)]
    table = Table(title=str(query), title_justify="left")
    numbers = ["score"] if all(hit.probability is None for hit in hits) else ["probability", "score"]
    for name in ("", *numbers, *shown, "image"):
        right = name in ("", *numbers, "vehicle", "camera", "time")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for place, (hit, fact) in enumerate(zip(hits, facts, strict=True), start=1):
        known = ("" if fact[name] is None else str(fact[name]) for name in shown)
        told = (f"{getattr(hit, name):.3f}" for name in numbers)
        table.add_row(str(place), *told, *known, str(gallery.table.loc[hit.row, "path"]))
    if missing:
        console().print(f"{query}: probably not in the gallery; the nearest image shows another vehicle.")
    console().print(table if hits else f"{query}: nothing passes the filters and the threshold.")


def _plain(
    gallery: Gallery, queries: list[Path], found: list[list[Hit]], absent: list[bool | None]
) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "query": str(query),
            "not_in_gallery": missing,
            "hits": [
                {"rank": rank, "score": hit.score, "probability": hit.probability} | gallery.describe(hit.row)
                for rank, hit in enumerate(hits, start=1)
            ],
        }
        for query, hits, missing in zip(queries, found, absent, strict=True)
    ]


def _above(hit: Hit) -> str:
    return f"{hit.score:.3f}" if hit.probability is None else f"p {hit.probability:.3f}"


def _caption(gallery: Gallery, hit: Hit) -> str:
    fact = gallery.describe(hit.row)
    camera = None if fact["camera"] is None else f"camera {fact['camera']}"
    return "\n".join(text for text in (camera, fact["time"], fact["domain"]) if text)
