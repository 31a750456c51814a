"""`src.index` on a gallery that is there: `add`, `delete`, `expire`, `compact`, `reembed`."""

import logging
import re
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import DictConfig, ListConfig

from src.embed import Embedder
from src.gallery.blurred_copies import Find, blurred_copies
from src.gallery.filters import Filters, gallery_time
from src.gallery.gallery_changes import Changes
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.gallery_records import own_images
from src.gallery.milvus import LITE, Milvus
from src.gallery.query import embedder_of
from src.gallery.reembedding import reembed
from src.retrieval import read_meta
from src.retrieval.embeddings import META_FILE
from src.runtime.errors import ConfigError

log = logging.getLogger(__name__)

_SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}


def changes_asked(cfg: DictConfig) -> list[str]:
    """The changes that `src.index` is asked for; none builds the gallery."""
    given = {"add": cfg.add, "expire": cfg.expire, "compact": cfg.compact or None, "reembed": cfg.reembed or None}
    given["delete"] = next((value for value in cfg.delete.values() if value is not None), None)
    return [name for name, value in given.items() if value is not None]


def run(cfg: DictConfig, find: Find | None = None) -> None:
    """Changes a gallery: adds first, then deletes, then writes it anew.

    Args:
        cfg: The configuration of `src.index`.
        find: What to blur in each picture that is added; see `blurred_copies`.

    Raises:
        ConfigError: If an option is wrong, or the folder is no gallery.
        ValueError: If a time is none.
        DataError: If the list of images is wrong.
    """
    asked, out = changes_asked(cfg), Path(cfg.out)
    if cfg.images is not None or cfg.get("data") is not None:
        raise ConfigError(f"{asked[0]} changes the gallery that is there; leave images= and data= away.")
    if "reembed" in asked and len(asked) > 1:
        raise ConfigError("reembed=true goes alone; add and delete before or after it.")
    if not (out / META_FILE).is_file():
        raise ConfigError(f"out={out} is no gallery yet; build it first: src.index checkpoint=… images=… out=….")
    meta = read_meta(out, GalleryMeta)
    if cfg.add is not None and meta.blurred != (find is not None):
        raise ConfigError(
            f"The pictures of {out} are {'' if meta.blurred else 'not '}blurred; "
            + ("pass blur=… with add= too." if meta.blurred else "leave blur= away, or index them anew.")
        )
    milvus = None
    if meta.milvus is not None:
        milvus = Milvus(cfg.milvus.uri or meta.milvus.uri or str(out / LITE), cfg.milvus.token)
    options = {"engine": cfg.engine, "batch_size": cfg.batch_size, "workers": cfg.workers}
    if "reembed" in asked:
        if cfg.checkpoint is None:
            raise ConfigError("reembed=true needs checkpoint=<the new one>.")
        embedder = Embedder(cfg.checkpoint, device=cfg.device, precision=cfg.precision, **options)
        reembed(out, embedder, milvus, None if meta.milvus is None else meta.milvus.uri)
        return
    changes = Changes(out, milvus)
    choices = [choice for choice in (_expired(cfg, meta), _deleted(cfg, meta)) if choice is not None]
    if cfg.add is not None:
        table = own_images(Path(cfg.add), "add")
        if cfg.domain is not None:
            table["domain"] = table["domain"].where(table["domain"] != "", cfg.domain)
        if find is not None:
            table = blurred_copies(table, find, Path(cfg.blur), out)
        count = changes.add(table, embedder_of(meta, cfg.checkpoint, cfg.device, **options), Path(cfg.add))
        log.info("%d of %d images are new and were added: %s", count, len(table), out)
    for choice in choices:
        log.info("%d images were deleted: %s", changes.delete(choice), out)
    if cfg.compact:
        changes.fold()


def _deleted(cfg: DictConfig, meta: GalleryMeta) -> Any:
    """What `delete` names: the images that all of its conditions fit."""
    said = cfg.delete
    if all(value is None for value in said.values()):
        return None

    def choose(table: pd.DataFrame) -> NDArray[np.bool_]:
        times = (None if said[name] is None else _time(said[name], meta, table) for name in ("after", "before"))
        after, before = times
        chosen = Filters(camera=_several(said.camera), after=after, before=before).keep(table)
        if said.track is not None:
            chosen &= table["track_id"].isin([int(track) for track in _several(said.track)]).to_numpy()
        if said.path is not None:
            patterns = [str(pattern) for pattern in _several(said.path)]
            whole = [f"{Path(root, path)}" for root, path in zip(table["root"], table["path"], strict=True)]
            chosen &= np.array(
                [
                    any(fnmatch(path, pattern) or fnmatch(absolute, pattern) for pattern in patterns)
                    for path, absolute in zip(table["path"], whole, strict=True)
                ],
                dtype=bool,
            )
        return chosen

    return choose


def _expired(cfg: DictConfig, meta: GalleryMeta) -> Any:
    """What is older than `expire` says; images without a time stay."""
    if cfg.expire is None:
        return None
    age = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", str(cfg.expire))
    if age and meta.time_unit != "unix":
        raise ConfigError(
            f"expire={cfg.expire} is an age, but the gallery does not count seconds since 1970 (time_unit is "
            f"{meta.time_unit or 'not said'}); pass the time before which images go."
        )
    limit = time.time() - float(age[1]) * _SECONDS[age[2]] if age else None

    def choose(table: pd.DataFrame) -> NDArray[np.bool_]:
        if unknown := int(table["timestamp"].isna().sum()):
            log.warning("%d images have no time and do not expire.", unknown)
        before = _time(cfg.expire, meta, table) if limit is None else limit
        old: NDArray[np.bool_] = (table["timestamp"] < before).to_numpy()
        return old

    return choose


def _time(text: Any, meta: GalleryMeta, table: pd.DataFrame) -> float:
    return gallery_time(text, meta.time_unit or "", table["timestamp"])


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [*value] if isinstance(value, ListConfig) else [value]
