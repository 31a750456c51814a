"""What the loggers of a run get of a finished measurement: numbers under the same names, and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.image import imread
from omegaconf import DictConfig, OmegaConf

from src.evaluation.metrics_record import MetricsRecord, Tasks
from src.evaluation.task_results import TaskResult
from src.evaluation.wandb_tables import log_tables
from src.figures.rank_lists import RankList


def open_loggers(cfg: DictConfig) -> list[Logger]:
    """The loggers of a command that trains nothing, without the CSV files, which have curves only."""
    loggers = [logger(save_dir=cfg.paths.run_dir) for logger in instantiate(cfg.get("logger") or {}).values()]
    kept = [logger for logger in loggers if not isinstance(logger, CSVLogger)]
    for logger in kept:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
    return kept


def log_results(
    loggers: Sequence[Logger],
    metrics: MetricsRecord,
    results: Mapping[str, TaskResult],
    lists: Mapping[str, list[RankList]],
    table: pd.DataFrame,
    folder: Path,
) -> None:
    """Logs a finished measurement.

    Args:
        loggers: Those of the run.
        metrics: Its record.
        results: Results of the tasks, by name.
        lists: Rank lists to show, by task.
        table: The record table.
        folder: The run's, with its pictures.
    """
    numbers = (
        _numbers("final", metrics.tasks)
        | _numbers("before_postprocessing", metrics.before_postprocessing)
        | _numbers("untrained", metrics.untrained)
    )
    checkpoint_sha = metrics.models[0].checkpoint_sha if len(metrics.models) == 1 else None
    about = {"checkpoint_sha": checkpoint_sha, "data": asdict(metrics.data), "git": metrics.git}
    pictures = {f"figures/{path.stem}": path for path in sorted(folder.glob("figures/*.png"))}
    step = metrics.steps or 0
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run: Any = logger.experiment
            run.summary.update({**numbers, **about})
            log_tables(run, metrics, results, lists, table, pictures)
        elif isinstance(logger, TensorBoardLogger):
            logger.log_metrics(numbers, step)
            for name, value in about.items():
                logger.experiment.add_text(name, str(value), step)
            for name, path in pictures.items():
                logger.experiment.add_image(name, imread(path)[..., :3], step, dataformats="HWC")
            logger.finalize("success")
        elif isinstance(logger, MLFlowLogger):
            logger.log_metrics(numbers, step)
            for name, value in about.items():
                logger.experiment.set_tag(logger.run_id, name, str(value))
            for path in pictures.values():
                logger.experiment.log_artifact(logger.run_id, str(path), "figures")
            logger.finalize("success")


def _numbers(name: str, tasks: Tasks) -> dict[str, float]:
    """The tasks' numbers as loggers call them, and their means over the tasks."""
    flat = {
        task: {"mAP": record.mAP, "mINP": record.mINP} | {f"rank{k}": share for k, share in record.rank.items()}
        for task, record in tasks.items()
    }
    numbers = {f"{name}/{task}/{measure}": value for task, scores in flat.items() for measure, value in scores.items()}
    for measure in next(iter(flat.values()), ()):
        numbers[f"{name}/{measure}"] = float(np.mean([scores[measure] for scores in flat.values()]))
    return numbers
