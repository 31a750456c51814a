"""Embeds a gallery into a folder that can be searched."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from src.checkpoints.restore import options_at_test
from src.data import DataError
from src.embed import Embedder
from src.gallery.blurred_copies import Find, blurred_copies, forget_copies
from src.gallery.cameras import read_cameras
from src.gallery.embedding_images import embed_missing, refuse_not_finite
from src.gallery.gallery import STORES
from src.gallery.gallery_meta import GalleryMeta, made_by
from src.gallery.gallery_records import gallery_records
from src.gallery.image_keys import Keys, image_keys
from src.gallery.milvus import LITE, Milvus
from src.gallery.shards import Shards
from src.gallery.versions import Slots, made_by_index, read_features, read_records, read_slots, writing
from src.gallery.videos import with_videos
from src.gallery.whole_version import write_version
from src.retrieval import Embeddings, read_meta
from src.retrieval.embeddings import META_FILE
from src.retrieval.index.options import OPTIONS, IndexKind, check, require_enough
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha

log = logging.getLogger(__name__)

_SHOWN = 5  # paths in a message


def run(cfg: DictConfig, find: Find | None = None) -> Embeddings:
    """Embeds what is not embedded yet, and writes the folder.

    Args:
        cfg: The configuration of `src.index`.
        find: What to blur in each picture; see `blurred_copies`.

    Returns:
        What the folder holds.

    Raises:
        ConfigError: If it is not said what to embed, or the folder holds something else.
        DataError: If the list of images is wrong, or none of them can be read.
    """
    if cfg.checkpoint is None:
        raise ConfigError("Pass checkpoint=<run folder>/stages/<stage>/last.ckpt, which embeds the images.")
    if cfg.kind not in OPTIONS:  # before the work, not after it
        raise ConfigError(f"kind is {cfg.kind!r}, expected one of {', '.join(OPTIONS)}.")
    check(f"An index of kind {cfg.kind!r}", cfg.options or {}, OPTIONS[cfg.kind])
    if cfg.store not in STORES:
        raise ConfigError(f"store is {cfg.store!r}, expected {' or '.join(STORES)}.")
    if cfg.store == "milvus" and cfg.kind != "exact":
        raise ConfigError(f"store=milvus compares with all images; leave kind={cfg.kind} away.")
    table, distances = gallery_records(cfg)
    require_enough(cfg.kind, (cfg.options or {}).get("n_lists"), len(table))
    if cfg.domain is not None:
        table["domain"] = table["domain"].where(table["domain"] != "", cfg.domain)
    cameras = {} if cfg.cameras is None else read_cameras(Path(cfg.cameras))
    about = GalleryMeta(time_unit=cfg.time_unit, cameras=cameras, blurred=find is not None)
    if cfg.images is not None:
        about = with_videos(about, Path(cfg.images))
    embedder = Embedder(
        cfg.checkpoint,
        device=cfg.device,
        precision=cfg.precision,
        engine=cfg.engine,
        batch_size=cfg.batch_size,
        workers=cfg.workers,
    )
    out = Path(cfg.out)
    if (out / META_FILE).is_file() and read_meta(out, GalleryMeta).blurred and find is None:
        raise ConfigError(f"The pictures of {out} are blurred; pass blur=… again, or another folder as out.")
    milvus = milvus_of(cfg, out) if cfg.store == "milvus" else None  # before the work too
    if find is not None:
        table = blurred_copies(table, find, Path(cfg.blur), out)
    return build_gallery(
        table, embedder, out, about, distances, kind=cfg.kind, options=cfg.options, milvus=milvus, uri=cfg.milvus.uri
    )


def build_gallery(
    table: pd.DataFrame,
    embedder: Embedder,
    out: Path,
    about: GalleryMeta,
    distances: pd.DataFrame | None = None,
    *,
    kind: IndexKind = "exact",
    options: Mapping[str, Any] | None = None,
    milvus: Milvus | None = None,
    uri: str | None = None,
) -> Embeddings:
    """Embeds the images of a table that are not embedded yet, and writes the folder.

    Args:
        table: Records of the gallery.
        embedder: Embeds.
        out: The folder.
        about: What is known beforehand: time unit, cameras, videos.
        distances: Road distances between cameras, if they are known.
        kind: Of the index.
        options: Of the index.
        milvus: Where the embeddings are copied to, if anywhere.
        uri: Address of that.

    Returns:
        What the folder holds.

    Raises:
        ConfigError: If the folder holds something else.
        DataError: If no image can be read.
    """
    sha = file_sha(embedder.checkpoint)
    with writing(out):
        before = _last(out, made_by(sha, embedder.precision))
        keys, shards = image_keys(table), Shards(out, made_by(sha, embedder.precision))
        slots = None if before is None else read_slots(out, before)
        there = np.empty(0, dtype=np.int64) if slots is None else slots.keys[slots.alive]
        earlier = table[:0]
        if before is not None and slots is not None:
            earlier = read_records(out, before, slots, slots.alive)
            _report_vanished(earlier, table)
        embed_missing(embedder, shards, table, keys, there)
        known, features = shards.known()
        added = len(known) > 0
        if before is not None and slots is not None:
            stored = read_features(out, before, slots, slots.alive)
            features = stored if len(known) == 0 else torch.cat([stored, features])
            known, first = np.unique(np.concatenate([there, known]), return_index=True)
            features = features[torch.from_numpy(first)]
        readable = np.flatnonzero(np.isin(keys, known))
        if len(readable) == 0:
            raise DataError(f"None of the {len(table)} images can be read; see the messages above.")
        numbers = _numbers(keys[readable], slots, 0 if before is None else before.next_number)
        rows = readable[np.argsort(numbers, kind="stable")]
        table, keys = table.iloc[rows].reset_index(drop=True), keys[rows]
        features = features[torch.from_numpy(np.searchsorted(known, keys))]
        refuse_not_finite(features.numpy(), table, embedder)  # of an index made when this was not refused
        meta = replace(about_embedder(about, embedder, sha), evaluation={"names": [], "ap": "standard"})
        if before is not None:
            meta = replace(meta, engine=before.computed_by(embedder.engine).engine if added else before.engine)
        images = Embeddings(features, np.arange(len(table)), table, distances, meta)
        found = write_version(
            out, images, keys, np.sort(numbers), before=before, kind=kind, options=options, milvus=milvus, uri=uri
        )
        shards.clear()
        forget_copies(out, earlier, table)
    return found


def about_embedder(about: GalleryMeta, embedder: Embedder, sha: str) -> GalleryMeta:
    """The record with what its embeddings are made by.

    Args:
        about: The record.
        embedder: Makes them.
        sha: SHA-256 of its checkpoint.
    """
    return replace(
        about,
        checkpoint=str(embedder.checkpoint.resolve()),
        checkpoint_sha=sha,
        precision=embedder.precision,
        device=str(embedder.device),
        engine=embedder.engine,
        views=asdict(embedder.method.views),
        method=options_at_test(embedder.method),
        calibration=embedder.calibration,
    )


def _last(out: Path, wanted: str) -> GalleryMeta | None:
    """The record of the last version, if there is one.

    Raises:
        ConfigError: If the folder holds something else.
    """
    if not (out / META_FILE).is_file():
        return None
    meta = read_meta(out, GalleryMeta)
    if not made_by_index(out, meta):
        raise ConfigError(f"{out} holds embeddings that src.index has not made; pass another folder as out.")
    if meta.made_by != wanted:
        raise ConfigError(
            f"{out} holds embeddings of {meta.made_by}, not of {wanted}; pass reembed=true to embed its images anew "
            "beside them, or another folder as out."
        )
    return meta


def _numbers(keys: Keys, slots: Slots | None, free: int) -> NDArray[np.int64]:
    """Number of each image: its own if the gallery has it, else a new one."""
    given: dict[int, int] = {}
    if slots is not None:
        given = dict(zip(slots.keys[slots.alive].tolist(), slots.numbers[slots.alive].tolist(), strict=True))
        free = max(free, int(slots.numbers.max(initial=-1)) + 1)
    new = count(free)
    return np.array([given.pop(key) if key in given else next(new) for key in keys.tolist()], dtype=np.int64)


def milvus_of(cfg: DictConfig, out: Path) -> Milvus:
    """The Milvus that a gallery is copied to."""
    out.mkdir(parents=True, exist_ok=True)  # where Milvus Lite puts its file
    return Milvus(cfg.milvus.uri or str(out / LITE), cfg.milvus.token)


def _report_vanished(before: pd.DataFrame, table: pd.DataFrame) -> None:
    """Names images of the last version that are not asked for any more."""
    if gone := sorted(set(before["path"]) - set(table["path"])):
        shown = ", ".join(gone[:_SHOWN]) + (", …" if len(gone) > _SHOWN else "")
        log.warning("%d images are gone and leave the index: %s", len(gone), shown)
