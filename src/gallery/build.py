"""Embeds a gallery into a folder that can be searched."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress

from src.checkpoints.restore import options_at_test
from src.data import DataError, fingerprint, image_path, read_image
from src.embed import Embedder
from src.gallery.cameras import read_cameras
from src.gallery.gallery import STORES
from src.gallery.gallery_meta import BuiltIndex, Collection, GalleryMeta
from src.gallery.gallery_records import gallery_records
from src.gallery.milvus import LITE, Milvus, collection_name
from src.gallery.shards import Keys, Shards
from src.gallery.videos import with_videos
from src.retrieval import DataVersion, Embeddings, Index, read_meta
from src.retrieval.embeddings import META_FILE
from src.retrieval.index.options import OPTIONS, IndexKind, check, require_enough
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha

log = logging.getLogger(__name__)

SHARD = 512  # images whose embeddings a killed process loses at most
_SHOWN = 5  # paths in a message


def run(cfg: DictConfig) -> Embeddings:
    """Embeds what is not embedded yet, and writes the folder.

    Args:
        cfg: The configuration of `src.index`.

    Returns:
        What the folder holds.

    Raises:
        ConfigError: If it is not said what to embed, or the folder holds something else.
        DataError: If the list of images is wrong, or none of them can be read.
    """
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
    about = GalleryMeta(time_unit=cfg.time_unit, cameras=cameras)
    if cfg.images is not None:
        about = with_videos(about, Path(cfg.images))
    embedder = Embedder(
        cfg.checkpoint,
        device=cfg.device,
        precision=cfg.precision,
        batch_size=cfg.batch_size,
        workers=cfg.workers,
    )
    out = Path(cfg.out)
    milvus = _milvus(cfg, out)  # before the work too
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
    checkpoint_sha = file_sha(embedder.checkpoint)
    made_by = f"checkpoint {checkpoint_sha[:16]}, {embedder.precision}"
    shards = Shards(out, made_by)
    _report_vanished(out, table)
    keys = _keys(table)
    done = np.isin(keys, shards.keys())
    if done.any():
        log.info("%d of %d images are embedded already.", done.sum(), len(table))
    _embed(embedder, shards, table, keys, np.flatnonzero(~done))
    known, features = shards.known()
    readable = np.flatnonzero(np.isin(keys, known))
    if len(readable) == 0:
        raise DataError(f"None of the {len(table)} images can be read; see the messages above.")
    table, keys = table.iloc[readable].reset_index(drop=True), keys[readable]
    features = features[torch.from_numpy(np.searchsorted(known, keys))]
    _refuse_not_finite(features.numpy(), table, embedder)  # of an index made when this was not refused
    index = None
    if kind not in ("exact", "torch"):  # these two search the features themselves
        index = Index.build(features, kind, built_from={"checkpoint_sha": checkpoint_sha}, **(options or {}))
    before, collection = _collection(out), None
    if milvus is not None:
        collection = Collection(uri, collection_name(table, keys, f"{made_by}, {out.resolve()}"))
        milvus.fill(collection.collection, features.numpy(), table)
    meta = replace(
        about,
        checkpoint=str(embedder.checkpoint.resolve()),
        checkpoint_sha=checkpoint_sha,
        precision=embedder.precision,
        device=str(embedder.device),
        data=DataVersion(table["dataset"].iloc[0], fingerprint(table)),
        evaluation={"names": [], "ap": "standard"},
        views=asdict(embedder.method.views),
        method=options_at_test(embedder.method),
        dimensions=features.shape[1],
        index=BuiltIndex(kind, {} if index is None else dict(index.options)),
        milvus=collection,
    )
    embeddings = Embeddings(features, np.arange(len(table)), table, distances, meta)
    shards.finish(embeddings, keys, index)
    if milvus is not None and before is not None and before.uri == uri and before != collection:
        milvus.drop(before.collection)
    log.info("%d images of %d dimensions: %s", len(table), features.shape[1], out)
    return embeddings


def _milvus(cfg: DictConfig, out: Path) -> Milvus | None:
    if cfg.store != "milvus":
        return None
    out.mkdir(parents=True, exist_ok=True)  # where Milvus Lite puts its file
    return Milvus(cfg.milvus.uri or str(out / LITE), cfg.milvus.token)


def _collection(out: Path) -> Collection | None:
    """Place in Milvus of the last version, if it is there."""
    return read_meta(out, GalleryMeta).milvus if (out / META_FILE).is_file() else None


def _keys(table: pd.DataFrame) -> Keys:
    """A number for each record that changes with its path, box, domain, and the file's size and time."""
    parts = (table[name].tolist() for name in ("root", "path", "box", "domain"))
    return np.array([_key(*record) for record in zip(*parts, strict=True)], dtype=np.int64)


def _key(root: str, path: str, box: str, domain: str) -> int:
    try:
        found = Path(root, path).stat()
        stamp = f"{found.st_size} {found.st_mtime_ns}"
    except OSError:  # embedding it will say what is wrong
        stamp = ""
    text = "\0".join([path, box, domain, stamp])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)


def _embed(embedder: Embedder, shards: Shards, table: pd.DataFrame, keys: Keys, missing: NDArray[np.int64]) -> None:
    """Embeds rows of the table into shards; leaves out and names what cannot be read."""
    unreadable = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("Embedding", total=len(missing))
        for start in range(0, len(missing), SHARD):
            rows = missing[start : start + SHARD]
            try:
                found = _embed_rows(embedder, table, rows, partial(progress.advance, bar))
            except DataError:
                problems = {row: problem for row in rows if (problem := _problem(table, row))}
                for problem in problems.values():
                    log.warning("Left out: %s", problem)
                unreadable += len(problems)
                rows = np.array([row for row in rows if row not in problems], dtype=np.int64)
                progress.update(bar, completed=start + len(problems))
                found = _embed_rows(embedder, table, rows, partial(progress.advance, bar))
            if found:
                features = np.concatenate(found)
                _refuse_not_finite(features, table.iloc[rows], embedder)
                shards.add(keys[rows], features)
    if unreadable:
        log.warning("%d images cannot be read and are not in the index; repair them and run again.", unreadable)


def _refuse_not_finite(features: NDArray[np.float32], records: pd.DataFrame, embedder: Embedder) -> None:
    """Refuses embeddings with NaN or infinity, which no search could compare, and names their images."""
    wrong = records["path"].to_numpy()[~np.isfinite(features).all(axis=1)].tolist()
    if wrong:
        shown = ", ".join(wrong[:_SHOWN]) + (", …" if len(wrong) > _SHOWN else "")
        half = "" if embedder.precision == "32-true" else ", or pass precision=32-true"
        raise DataError(
            f"The embeddings of {len(wrong)} of {len(records)} images are not finite ({shown}): look at the images and "
            f"at the weights of {embedder.checkpoint}{half}."
        )


def _embed_rows(
    embedder: Embedder, table: pd.DataFrame, rows: NDArray[np.int64], advance: Callable[[int], None]
) -> list[NDArray[np.float32]]:
    if len(rows) == 0:
        return []
    paths = [image_path(table, row) for row in rows]
    found = []
    for batch in embedder.batches(paths, table["domain"].iloc[rows].tolist(), table["box"].iloc[rows].tolist()):
        found.append(batch)
        advance(len(batch))
    return found


def _problem(table: pd.DataFrame, row: int) -> str:
    try:
        read_image(image_path(table, row), str(table.loc[row, "box"]))
    except DataError as error:
        return str(error)
    return ""


def _report_vanished(out: Path, table: pd.DataFrame) -> None:
    """Names images of the last version that are not asked for any more."""
    file = out / "table.csv"
    if not file.is_file():
        return
    before = pd.read_csv(file, usecols=["path"], dtype=str, keep_default_na=False)["path"]
    if gone := sorted(set(before) - set(table["path"])):
        shown = ", ".join(gone[:_SHOWN]) + (", …" if len(gone) > _SHOWN else "")
        log.warning("%d images are gone and leave the index: %s", len(gone), shown)
