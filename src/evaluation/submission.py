"""Ranks a test set whose vehicles are hidden."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from src.config.checks import one_or_more
from src.data.submission_file import MATCHES, check_submission, write_submission
from src.evaluation.task_results import post_processed
from src.retrieval import make_steps, rank_lists, read_embeddings
from src.runtime.errors import ConfigError

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
    table = models[0].table
    query, gallery = (np.flatnonzero((table["split"] == split).to_numpy()) for split in ("query", "gallery"))
    if len(query) == 0 or len(gallery) < MATCHES:
        raise ConfigError(
            f"{folders[0]} has {len(query)} queries and {len(gallery)} gallery images, expected some queries and at "
            f"least {MATCHES} gallery images."
        )
    steps = make_steps(cfg.retrieval.steps, cfg.retrieval)
    state = post_processed(models, query, gallery, steps, cfg.retrieval.metric)
    if state.images is not None:
        raise ConfigError("retrieval.steps leaves tracks in the gallery, a submission is of images; add expand_tracks.")
    out = Path(cfg.paths.run_dir) / cfg.out
    write_submission(out, rank_lists(state.ranking(), MATCHES)[0], len(gallery))
    check_submission(out, len(query), len(gallery))
    log.info("%d queries in %d gallery images: %s", len(query), len(gallery), out)
    return out
