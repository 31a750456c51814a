"""Evidence of scores fitted at the end of a training, to images of training vehicles."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from lightning.pytorch import Trainer
from numpy.typing import NDArray

from src.checkpoints.calibration_entry import add_calibration
from src.data import ReIDDataModule, known
from src.data.table import CALIBRATION
from src.evaluation.retrieval_callback import RetrievalEvaluation
from src.methods.base import ReIDMethod
from src.retrieval.probabilities.calibration import Calibration, Source
from src.retrieval.probabilities.calibration_fit import TooFewPairs, fit_calibration
from src.runtime.json_files import as_plain

log = logging.getLogger(__name__)

_LEAST_IMAGES = 4  # of a vehicle, before more vehicles are drawn


def calibrate(
    method: ReIDMethod,
    data: ReIDDataModule,
    trainer: Trainer,
    evaluation: RetrievalEvaluation,
    checkpoint: Path,
    most: int,
) -> Calibration | None:
    """Fits a calibration and stores it in the checkpoint; says in one sentence why there is none.

    Args:
        method: With the weights and views of the checkpoint; its provenance gets the calibration.
        data: What the run is tested on.
        trainer: Embeds the images, on all its processes.
        evaluation: The trainer's.
        checkpoint: Of the run.
        most: Images to embed, at most; 0 for no calibration.

    Returns:
        None where there is none, and on all processes but the first.
    """
    if most == 0:
        return None
    if data.class_column != "vehicle_id":
        log.info("No calibration: %s does not tell vehicles apart.", type(method).__name__)
        return None
    source, candidates = calibration_rows(data.table, data.holdout)
    if len(candidates) == 0:
        log.info("No calibration: %s has no training images of known vehicles.", data.name)
        return None
    rows = draw_evenly(data.table, candidates, most)
    trainer.test(method, data.only(rows), verbose=False)
    if not trainer.is_global_zero:
        return None
    table = data.table.iloc[evaluation.embeddings.rows]
    vehicles = pd.factorize(pd.MultiIndex.from_frame(table[["dataset", "vehicle_id"]]))[0].astype(np.int64)
    features = evaluation.embeddings.features.cpu().numpy()
    cameras, domains = (table[column].to_numpy() for column in ("camera_id", "domain"))
    matches = _matches(data.table.iloc[candidates])
    try:
        calibration = fit_calibration(features, vehicles, cameras, domains, source, matches)
    except TooFewPairs as error:
        log.warning("No calibration, so there are no probabilities: among the images %s, %s.", source, error)
        return None
    add_calibration(checkpoint, calibration)
    method.provenance = method.provenance | {"calibration": as_plain(calibration)}
    log.info("Calibrated on %d vehicles %s (%s).", calibration.fit.vehicles, source, calibration.fit.kind)
    if source == "trained on":
        log.warning(
            "Probabilities are fitted to vehicles that were trained on, and likely too sure of themselves with others; "
            "data.calibration=0.1 puts a tenth of the training vehicles aside for them."
        )
    return calibration


def calibration_rows(table: pd.DataFrame, holdout: float) -> tuple[Source, NDArray[np.int64]]:
    """The best images that there are to calibrate on: put aside for it, else held out, else trained on.

    Args:
        table: The record table.
        holdout: Share of the training vehicles that are the test set; 0 if it is the data set's own, which nothing is
            ever fitted to.

    Returns:
        What they are, and their rows, ascending; of the tested data set alone, where there are several.
    """
    split, vehicles = table["split"].to_numpy(), known(table, "vehicle_id")
    tested = table.loc[split != "train", "dataset"].unique()
    of_tested = table["dataset"].isin(tested).to_numpy() if len(tested) else np.ones(len(table), dtype=bool)
    choices: tuple[tuple[Source, NDArray[np.bool_]], ...] = (
        ("put aside", split == CALIBRATION),
        ("held out", (split == "test") if holdout else np.zeros(len(table), dtype=bool)),
        ("trained on", split == "train"),
    )
    found = [(source, np.flatnonzero(chosen & vehicles & of_tested)) for source, chosen in choices]
    return next(((source, rows) for source, rows in found if len(rows)), found[-1])


def draw_evenly(table: pd.DataFrame, rows: NDArray[np.int64], most: int, seed: int = 0) -> NDArray[np.int64]:
    """Draws images of as many vehicles as have room for some each, and of all of these about as many.

    Args:
        table: The record table.
        rows: To draw from.
        most: How many, at most.
        seed: Decides which.

    Returns:
        Rows, ascending.
    """
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(seed)
    vehicles = pd.factorize(pd.MultiIndex.from_frame(table.iloc[rows][["dataset", "vehicle_id"]]))[0]
    names = rng.permutation(vehicles.max() + 1)[: max(1, most // _LEAST_IMAGES)]
    order = rng.permutation(np.flatnonzero(np.isin(vehicles, names)))
    turn = pd.Series(vehicles[order]).groupby(vehicles[order]).cumcount().to_numpy()
    return np.sort(rows[order[np.argsort(turn, kind="stable")][:most]])


def _matches(records: pd.DataFrame) -> float:
    """Images of the same vehicle, at other cameras where these are known, that an image has on average."""
    of_vehicle = records.groupby(["dataset", "vehicle_id"])["path"].transform("size")
    here = records.groupby(["dataset", "vehicle_id", "camera_id"])["path"].transform("size")
    return float(np.where(known(records, "camera_id"), of_vehicle - here, of_vehicle - 1).mean())
