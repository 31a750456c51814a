"""Ranks a test set whose vehicles are hidden."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from src.config.checks import one_or_more
from src.data.submission_file import MATCHES, check_submission, write_submission
from src.evaluation.task_results import post_processed, require_same_images
from src.retrieval import State, make_steps, rank_lists, read_embeddings
from src.runtime.errors import ConfigError
from src.runtime.progress import working

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Writes the submission.

    Args:
        cfg: The configuration of `src.submit`.

    Returns:
        The file.
    """
    folders = one_or_more(cfg.embeddings)
    models = [read_embeddings(Path(folder)) for folder in folders]
    require_same_images(models)
    table = models[0].table
    query, gallery = (np.flatnonzero((table["split"] == split).to_numpy()) for split in ("query", "gallery"))
    if len(query) == 0 or len(gallery) < MATCHES:
        raise ConfigError(
            f"{folders[0]} has {len(query)} queries and {len(gallery)} gallery images, expected some queries and at "
            f"least {MATCHES} gallery images."
        )
    steps = make_steps(cfg.retrieval.steps, cfg.retrieval)
    out = Path(cfg.paths.run_dir) / cfg.out
    with working(f"Ranking {len(gallery):,} images for {len(query):,} queries"):
        state = post_processed(models, query, gallery, steps, cfg.retrieval.metric)
        if state.images is not None:
            raise ConfigError(
                "retrieval.steps leaves tracks in the gallery, a submission is of images; add expand_tracks."
            )
        write_submission(out, _full_lists(state), len(gallery))
    check_submission(out, len(query), len(gallery))
    log.info("%d queries in %d gallery images: %s", len(query), len(gallery), out)
    return out


def _full_lists(state: State) -> NDArray[np.int64]:
    """The `MATCHES` nearest gallery images of each query, `(Q, MATCHES)`.

    The server wants so many of every query. Behind what a filter leaves come the nearest of those that it took out, and
    where a step leaves no distance to those, any others.
    """
    ranking = rank_lists(state.ranking(), MATCHES)[0]
    short = np.flatnonzero((ranking < 0).any(axis=1))
    if len(short) == 0:
        return ranking
    log.warning("Filters leave %d queries fewer than %d images; the nearest of the others follow.", len(short), MATCHES)
    without = rank_lists(replace(state, filters=()).ranking(), MATCHES)[0]
    everything = np.arange(len(state.gallery))
    for row in short:
        listed = ranking[row][ranking[row] >= 0]
        for more in (without[row][without[row] >= 0], everything):
            listed = np.concatenate([listed, more[~np.isin(more, listed)]])[:MATCHES]
        ranking[row] = listed
    return ranking
