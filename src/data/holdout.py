"""Training identities put aside: to choose without looking at the test set, and to fit probabilities to."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.data.table import CALIBRATION, DataError, known

_OTHER = 0x0A51DE  # so that calibration draws other identities than a hold-out of the same seed


def hold_out(table: pd.DataFrame, share: float, seed: int = 0, dataset: str | None = None) -> pd.DataFrame:
    """Makes a share of the training identities the test set; the data set's own test images leave the table.

    Every image of a held-out identity is query and gallery. Where none of them has a track, images of one vehicle in
    one camera are a track, as they nearly always are.

    Args:
        table: The record table.
        share: Share of the identities, above 0 and below 1.
        seed: Decides which; the same for the same identities, whatever else is in the table.
        dataset: Whose identities, of a table of several data sets; None for all.

    Returns:
        The training images, in their order, with new row numbers.

    Raises:
        DataError: If the share is out of range, or leaves no identity on one side.
    """
    train = table[(table["split"] == "train").to_numpy()].reset_index(drop=True)
    held = _drawn(train, "holdout", share, np.random.default_rng(seed), dataset)
    train.loc[held, "split"] = "test"
    if (train.loc[held, "track_id"] < 0).all():
        train.loc[held, "track_id"] = _vehicle_and_camera(train[held])
    return train


def put_aside(table: pd.DataFrame, share: float, seed: int = 0, dataset: str | None = None) -> pd.DataFrame:
    """Gives a share of the training identities the split `"calibration"`: neither trained on nor tested.

    Args:
        table: The record table.
        share: See `hold_out`.
        seed: See `hold_out`.
        dataset: See `hold_out`.

    Returns:
        All images, in their order.

    Raises:
        DataError: See `hold_out`.
    """
    rows = np.flatnonzero((table["split"] == "train").to_numpy())
    drawn = _drawn(table.iloc[rows], "calibration", share, np.random.default_rng([seed, _OTHER]), dataset)
    split = table["split"].to_numpy(dtype=object, copy=True)
    split[rows[drawn]] = CALIBRATION
    return table.assign(split=split)


def _drawn(
    train: pd.DataFrame, key: str, share: float, rng: np.random.Generator, dataset: str | None
) -> NDArray[np.bool_]:
    """Mask of the training images whose identity is drawn, `(N,)`."""
    vehicles = pd.MultiIndex.from_frame(train[["dataset", "vehicle_id"]])
    candidates = known(train, "vehicle_id") & (dataset is None or (train["dataset"] == dataset).to_numpy())
    ids = vehicles[candidates].unique().sort_values()
    count = round(share * len(ids))
    if not 0 < share < 1 or not 0 < count < len(ids):
        raise DataError(
            f"data.{key} is {share} of {len(ids)} training identities, expected a share with some on each side."
        )
    chosen = np.sort(rng.permutation(len(ids))[:count])
    return np.asarray(vehicles.isin(ids[chosen]))


def _vehicle_and_camera(records: pd.DataFrame) -> NDArray[np.int64]:
    return records.groupby(["dataset", "vehicle_id", "camera_id"], sort=True).ngroup().to_numpy().astype(np.int64)
