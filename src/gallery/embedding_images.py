"""Embeds images of a table into shards, and leaves out what cannot be read."""

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data import DataError, image_path, read_image
from src.embed import Embedder
from src.gallery.image_keys import Keys
from src.gallery.shards import Shards
from src.runtime.progress import working

log = logging.getLogger(__name__)

SHARD = 512  # images whose embeddings a killed process loses at most
_SHOWN = 5  # paths in a message


def embed_missing(embedder: Embedder, shards: Shards, table: pd.DataFrame, keys: Keys, there: Keys) -> None:
    """Embeds what is neither in the shards nor elsewhere; names what cannot be read.

    Args:
        embedder: Embeds.
        shards: Where the embeddings go.
        table: Records of images.
        keys: Of the images.
        there: Keys of images that need none.
    """
    _, first = np.unique(keys, return_index=True)
    done = np.isin(keys, there) | np.isin(keys, shards.keys())
    if done.any():
        log.info("%d of %d images are embedded already.", done.sum(), len(table))
    missing = np.setdiff1d(first, np.flatnonzero(done))
    embedder.coming = len(missing)
    unreadable = 0
    with working("Embedding", len(missing), "images") as work:
        for start in range(0, len(missing), SHARD):
            rows = missing[start : start + SHARD]
            try:
                found = _embed_rows(embedder, table, rows, work.advance)
            except DataError:
                problems = {row: problem for row in rows if (problem := _problem(table, row))}
                for problem in problems.values():
                    log.warning("Left out: %s", problem)
                unreadable += len(problems)
                rows = np.array([row for row in rows if row not in problems], dtype=np.int64)
                work.reach(start + len(problems))
                found = _embed_rows(embedder, table, rows, work.advance)
            if found:
                features = np.concatenate(found)
                refuse_not_finite(features, table.iloc[rows], embedder)
                shards.add(keys[rows], features)
    if unreadable:
        log.warning("%d images cannot be read and are not in the index; repair them and run again.", unreadable)


def refuse_not_finite(features: NDArray[np.float32], records: pd.DataFrame, embedder: Embedder) -> None:
    """Refuses embeddings with NaN or infinity, which no search could compare, and names their images.

    Raises:
        DataError: If there are any.
    """
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
