"""Masks of vehicles as files beside the images."""

import logging
from functools import cache
from pathlib import Path

import pandas as pd

from src.data.layouts.list_files import files_in
from src.data.table import DataError, known

log = logging.getLogger(__name__)


def find_masks(table: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Fills in the masks that lie where a pattern says, for records that name none.

    Args:
        table: The record table.
        pattern: Path below the data set's folder (or an absolute one); `{path}` is the image's path without its ending.

    Returns:
        The table with more of its column `mask` filled.
    """
    listed = cache(files_in)
    lacking = table[table["mask"] == ""]
    masks = []
    for root, path in zip(lacking["root"], lacking["path"], strict=True):
        mask = pattern.replace("{path}", path.rpartition(".")[0])
        folder, _, name = mask.rpartition("/")
        masks.append(mask if name in listed(Path(root, folder)) else "")
    filled = table.copy()
    filled.loc[lacking.index, "mask"] = masks
    return filled


def require_masks(table: pd.DataFrame, pattern: str, dataset: str) -> None:
    """Checks that training images have masks, and says so if only some have.

    Args:
        table: The record table, after `find_masks`.
        pattern: Where masks were looked for, for the message.
        dataset: Name of the data set, for the message.

    Raises:
        DataError: If none has one.
    """
    train = table[table["split"] == "train"]
    count = int(known(train, "mask").sum())
    if count == 0:
        raise DataError(
            f"transforms.background needs masks of the vehicles, and none of the {len(train):,} training images of "
            f"{dataset!r} has one ({pattern} in {train['root'].iloc[0]}); make them with scripts/make_masks.py, say "
            "where they are with transforms.mask_files, or pass transforms.background=0."
        )
    if count < len(train):
        log.info("%d of %d training images have a mask; the others keep their background.", count, len(train))
