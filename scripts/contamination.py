"""Measures a checkpoint on images of which more and more is damaged, as Tables VI, VII and Fig. 8 of DFR-ST do.

    python -m scripts.contamination checkpoint=<run>/stages/main/last.ckpt [data=…] [out=…] [shares=[0,0.1]]

Prints a table a task and leaves `contamination.csv`, `contamination.png` (the curves), `examples.png` (an image as the
model saw it) and a `metrics.json` for each kind and share. With the same `out` again, measured shares are not computed
again. The whole tables, each of VehicleID's three test lists and the average over them:

    python -m scripts.contamination checkpoint=… data=vehicleid test_lists=[800,1600,2400]
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from src.config.checks import check_command
from src.config.schema import ContaminationConfig
from src.runs.published_tables import read_table
from src.runtime.command import command
from src.runtime.console import console
from src.runtime.errors import ConfigError

if TYPE_CHECKING:
    from src.evaluation.metrics_record import MetricsRecord

SCORES = ("mAP", "R1", "R5")
COLUMNS = ["name", "share", "task", *SCORES]
MEAN, AVERAGE = "mean of the kinds", "average of the test lists"
PUBLISHED = {"DFR-ST": "dfr_st_table_vi", "PRN": "dfr_st_table_vii"}


@command("contamination")
def main(cfg: DictConfig) -> None:
    run(cfg)


def run(cfg: DictConfig) -> pd.DataFrame:
    """Measures every kind and share; returns name, share, task and scores, the mean over the kinds included.

    With `test_lists` each list stands in the place of a task, with their average behind.
    """
    from src.figures.contamination_curves import draw_contamination
    from src.runtime.launch import local_processes

    check_command(cfg, ContaminationConfig)
    if not cfg.checkpoint:
        raise ConfigError("Pass checkpoint=<run>/stages/<stage>/last.ckpt: damaged images must be embedded anew.")
    if local_processes(cfg.trainer) > 1:
        raise ConfigError("scripts.contamination runs in one process; pass trainer.devices=1.")
    out = Path(cfg.paths.run_dir)
    if cfg.test_lists:
        table, known = _of_lists(cfg, out)
    else:
        table, data = _of_data(cfg, out)
        known = pd.concat([published(data).assign(task=task) for task in table["task"].unique()])
    table.to_csv(out / "contamination.csv", index=False)
    draw_contamination(table, known, out / "contamination.png")
    for task in table["task"].unique():
        _print(task, pd.concat([part[part["task"] == task] for part in (table, known)]), list(cfg.shares))
    return table


def _of_lists(cfg: DictConfig, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was measured on each test list and on average, in the place of tasks, and what was published of each."""
    if OmegaConf.select(cfg, "data.layout.test_ids") is None:
        raise ConfigError("test_lists is for data with several test lists; pass data=vehicleid with it.")
    tables, known = [], []
    for number in cfg.test_lists:
        asked: Any = OmegaConf.merge(cfg, {"data": {"layout": {"test_ids": number}}})
        table, data = _of_data(asked, out / str(number))
        tables.append(table.assign(task=data))
        known.append(published(data).assign(task=data))
    every = pd.concat(tables, ignore_index=True)
    mean = every.groupby(["name", "share"], sort=False)[[*SCORES]].mean().reset_index().assign(task=AVERAGE)
    known.append(published("vehicleid_average").assign(task=AVERAGE))
    printed = pd.concat(known)
    printed["name"] = printed["name"].str.rpartition(", ")[0]  # the task says which list it is
    return pd.concat([every, mean[COLUMNS]], ignore_index=True), printed


def _of_data(cfg: DictConfig, out: Path) -> tuple[pd.DataFrame, str]:
    """What was measured on one data set, the mean over the kinds included, and the data set's name."""
    rows = []
    for kind in cfg.kinds:
        for share in cfg.shares:
            metrics = _measured(cfg, kind, share, out)
            for task, record in metrics.tasks.items():
                rows.append((kind.replace("_", " "), share, task, *(record.of(score) for score in SCORES)))
    table = pd.DataFrame(rows, columns=COLUMNS)
    if len(set(cfg.kinds) - {"mixed"}) > 1:
        single = table[table["name"] != "mixed"]
        means = single.groupby(["task", "share"], sort=False)[list(SCORES)].mean().reset_index()
        table = pd.concat([table, means.assign(name=MEAN)[COLUMNS]], ignore_index=True)
    return table, metrics.data.name


def published(data: str) -> pd.DataFrame:
    """Tables VI and VII, as name, share and scores: of the VehicleID test list, or else the average over all three."""
    rows = []
    for method, table in PUBLISHED.items():
        for row in read_table(table).rows:
            results = {result.data: result for result in row.results}
            found = results.get(data, results["vehicleid_average"])
            share = float(row.name.removesuffix("%")) / 100
            scores = [float(found.numbers[score] or "nan") for score in SCORES]
            rows.append((f"{method}, published, {found.data}", share, *scores))
    return pd.DataFrame(rows, columns=["name", "share", *SCORES])


def _measured(cfg: DictConfig, kind: str, share: float, out: Path) -> "MetricsRecord":
    """What `metrics.json` says of one kind and share; computed only if it is not there yet."""
    from src.evaluation.evaluation_run import run as evaluate
    from src.evaluation.metrics_file import has_metrics, read_metrics
    from src.runtime.json_files import as_plain
    from src.runtime.provenance import file_sha

    folder = out / ("undamaged" if share == 0 else f"{kind}_{share}")
    damage = {"kind": kind, "share": share} if share else {"kind": None, "share": None}
    asked: Any = OmegaConf.merge(cfg, {"contamination": damage, "paths": {"run_dir": str(folder)}})
    if has_metrics(folder):
        found = read_metrics(folder)
        wanted = as_plain(OmegaConf.to_container(asked, resolve=True))
        other = [key for key in ("data", "contamination", "retrieval") if found.config[key] != wanted[key]]
        if [model.checkpoint_sha for model in found.models] != [file_sha(Path(cfg.checkpoint))]:
            other.append("checkpoint")
        if other:
            raise ConfigError(f"{folder} was measured with another {' and '.join(other)}; pass another out=.")
        return found
    metrics = evaluate(asked)
    if metrics is None:
        raise ConfigError("The data set has no tasks, so there is nothing to measure; pass other data=.")
    if share == 0:
        _draw_examples(cfg, folder / "embeddings", out / "examples.png")
    shutil.rmtree(folder / "embeddings")  # 100 MB for each share of VeRi-776, and quickly made again
    return metrics


def _draw_examples(cfg: DictConfig, embeddings: Path, out: Path) -> None:
    """One image of the tasks, damaged as the model sees it."""
    from src.checkpoints.checkpoint_file import load_checkpoint
    from src.data import Transforms, image_path, read_image
    from src.figures.contamination_curves import draw_examples
    from src.retrieval import read_embeddings

    trained = load_checkpoint(Path(cfg.checkpoint))["reid"]
    transforms = Transforms(size=trained["config"]["stages"][trained["stage"]]["transforms"]["size"])
    found = read_embeddings(embeddings)
    row = int(found.rows[len(found.rows) // 2])
    image = read_image(image_path(found.table, row), str(found.table.loc[row, "box"]))
    images = {}
    for kind in cfg.kinds:
        damages = [instantiate(cfg.contamination, kind=kind, share=share) for share in cfg.shares]
        pipelines = [replace(transforms, contamination=damage).evaluation() for damage in damages]
        images[kind] = [pipeline(image, seed=row).image for pipeline in pipelines]
    draw_examples(images, list(cfg.shares), out)


def _print(task: str, table: pd.DataFrame, shares: list[float]) -> None:
    """A row a kind under each score, a column a share, the published rows below."""
    shown = Table(title=task, title_justify="left")
    for column in ("score", "damage"):
        shown.add_column(column)
    for share in shares:
        shown.add_column(f"{share:.0%}", justify="right")
    for score in SCORES:
        for name, curve in table.groupby("name", sort=False):
            values = dict(zip(curve["share"], curve[score], strict=True))
            cells = [f"{values[share]:.3f}" if share in values else "–" for share in shares]
            shown.add_row(score, str(name), *cells)
        shown.add_section()
    console().print(shown)


if __name__ == "__main__":
    main()
