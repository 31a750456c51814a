"""Exports in fewer bits: calibrated on real images, and measured on a data set."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import torch
from omegaconf import DictConfig
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from src.checkpoints import exporting
from src.checkpoints.engines import Run, open_network
from src.checkpoints.exportable import Exportable, random_input
from src.checkpoints.exporting import base_of, times
from src.checkpoints.reduced_precision import Reduced, as_float16, as_int8
from src.checkpoints.restore import restore_for_embedding, saved_transforms
from src.config.checks import one_or_more
from src.data import ReIDDataModule, ReIDDataset, make_table
from src.data.loader_processes import loader_options
from src.embed import image_files
from src.evaluation.embedding import evaluation_data
from src.evaluation.task_results import evaluate_task
from src.methods.base import ReIDMethod
from src.retrieval import Embeddings, EmbeddingsMeta
from src.runtime.console import console
from src.runtime.errors import ConfigError
from src.runtime.json_files import write_json
from src.runtime.progress import tracked
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)

_BATCH = 8
#: Images that a network in fewer bits is compared with PyTorch on.
_COMPARED = 64


class _Images(NamedTuple):
    """Images by row, and which of them are meant."""

    dataset: ReIDDataset
    rows: list[int]


def run(cfg: DictConfig) -> dict[str, Any]:
    """Exports; in fewer bits too if asked for, with what that costs.

    Args:
        cfg: The configuration of `src.export`.

    Returns:
        What the JSON file says.

    Raises:
        ConfigError: If an option is unknown, or int8 has no images to calibrate on.
        ValueError: See `src.checkpoints.exporting.run`.
    """
    asked = cast(list[Reduced], [name for name in one_or_more(cfg.precision) if name != "float32"])
    _check(cfg, asked)
    if not asked:
        return exporting.run(cfg)
    method = restore_for_embedding(Path(cfg.checkpoint))
    data = _data_set(cfg, method)
    images = None if cfg.calibrate is None else _calibration(cfg, method, data)  # refused before the work, not after it
    said = exporting.run(cfg)
    base = base_of(cfg)
    whole = base.with_name(f"{base.name}.onnx")
    files = {"float32": whole}
    for name in asked:
        files[name] = base.with_name(f"{base.name}.{name}.onnx")
        write_atomically(files[name], _reduced(name, whole.read_bytes(), method, images))
    rows = {
        name: _measured(cfg, file, method, data if data is not None and data.tasks else None, images)
        for name, file in files.items()
    }
    said["precisions"] = rows
    write_json(base.with_name(f"{base.name}.json"), said)
    _print(rows)
    return said


def _check(cfg: DictConfig, asked: Sequence[str]) -> None:
    for name in asked:
        if name not in get_args(Reduced):
            raise ConfigError(f"precision is {name!r}, expected some of float32, {', '.join(get_args(Reduced))}.")
    if asked and "onnx" not in one_or_more(cfg.format):
        raise ConfigError(f"precision={asked[0]} is made of the ONNX network; add onnx to format.")
    if "int8" in asked and cfg.calibrate is None:
        raise ConfigError("precision=int8 needs images to calibrate on; pass calibrate=<folder>, or calibrate=data.")


def _data_set(cfg: DictConfig, method: ReIDMethod) -> ReIDDataModule | None:
    """The data set that was named, or that of the checkpoint for `calibrate=data`."""
    if not cfg.get("data") and cfg.calibrate != "data":
        return None
    data = evaluation_data(method, cfg.get("data"), seed=0, workers=None, eval_batch_size=_BATCH)
    data.setup("test")
    return data


def _calibration(cfg: DictConfig, method: ReIDMethod, data: ReIDDataModule | None) -> _Images:
    """Some of the training images of the data set, or of the images in a folder."""
    if cfg.calibrate == "data":
        assert data is not None
        rows = np.flatnonzero(data.table["split"] == "train")
        dataset: ReIDDataset = data.eval_dataset()
        where = f"Data set {data.name!r} has only {len(rows)} training images"
    else:
        folder = Path(cfg.calibrate)
        if not folder.is_dir():
            raise ConfigError(f"calibrate is {cfg.calibrate!r}, which is no folder; pass one with images, or data.")
        if "domain" in method.inputs:
            raise ConfigError(
                f"{type(method).__name__} must know which images are of the night, which a folder does not say; pass "
                "calibrate=data."
            )
        paths = [file.relative_to(folder).as_posix() for file in image_files(folder)]
        table = make_table(folder, folder.name, {"path": paths, "split": "gallery"})
        rows, dataset = np.arange(len(paths)), ReIDDataset(table, saved_transforms(method).evaluation())
        where = f"{folder} has only {len(rows)} images"
    if len(rows) < _BATCH:
        raise ConfigError(f"{where}, too few to calibrate on; pass calibrate=<another folder>, or another data=….")
    count = min(cfg.calibration_images, len(rows)) // _BATCH * _BATCH or _BATCH  # onnxruntime wants whole batches
    chosen = np.random.default_rng(0).choice(rows, count, replace=False)
    return _Images(dataset, chosen.tolist())


def _reduced(name: Reduced, content: bytes, method: ReIDMethod, images: _Images | None) -> bytes:
    if name == "float16":
        return as_float16(content)
    assert images is not None
    log.info("Calibrates int8 on %d images …", len(images.rows))
    return as_int8(content, ({name: value.numpy() for name, value in b.items()} for b in _batches(images, method)))


def _batches(images: _Images, method: ReIDMethod) -> Iterator[dict[str, Tensor]]:
    """What the exported network takes, batch by batch."""
    unknown = torch.full((_BATCH,), -1)
    for batch in DataLoader(Subset(images.dataset, images.rows), _BATCH, **loader_options(0)):
        yield {name: batch.get(name, unknown[: len(batch["image"])]) for name in method.inputs}


def _measured(
    cfg: DictConfig, file: Path, method: ReIDMethod, data: ReIDDataModule | None, images: _Images | None
) -> dict[str, Any]:
    """Size, speed, difference to PyTorch on real images, and mAP of the tasks."""
    network = open_network("onnxruntime", file, method.inputs)
    source = _Images(data.eval_dataset(), data.eval_rows.tolist()) if data is not None else images
    found: dict[str, Any] = {"file": file.name, "mib": round(file.stat().st_size / 2**20, 1)}
    with torch.inference_mode():
        whole = Exportable(method).eval()
        pairs = [(whole(*batch.values()), network(*batch.values())) for batch in _compared(source, method)]
    expected, computed = (torch.cat(side) for side in zip(*pairs, strict=True))
    found["max_difference"] = (computed - expected).abs().max().item()
    found["min_cosine"] = (computed * expected).sum(dim=1).min().item()
    size = saved_transforms(method).height_and_width

    def example(count: int) -> list[Tensor]:
        return [random_input(name, count, size) for name in method.inputs]

    found["ms_per_image"] = times(network, example, cfg.batches, cfg.repeats)
    if data is not None:
        found["mAP"] = mean_ap(embedded(network, method, data), data)
    return found


def _compared(source: _Images | None, method: ReIDMethod) -> Iterator[dict[str, Tensor]]:
    """Some images, made up where none are known."""
    if source is not None:
        yield from _batches(_Images(source.dataset, source.rows[:_COMPARED]), method)
    else:
        size = saved_transforms(method).height_and_width
        yield {name: random_input(name, _BATCH, size) for name in method.inputs}


def embedded(network: Run, method: ReIDMethod, data: ReIDDataModule) -> Tensor:
    """Embeddings `(N, D)` of a data set's test images, in the order of its `eval_rows`.

    Args:
        network: An exported network.
        method: The method that it is of.
        data: The data set.
    """
    source = _Images(data.eval_dataset(), data.eval_rows.tolist())
    batches = tracked(_batches(source, method), "Embedding", -(-len(source.rows) // _BATCH), "batches")
    return torch.cat([network(*batch.values()) for batch in batches])


def mean_ap(features: Tensor, data: ReIDDataModule) -> dict[str, float]:
    """Mean average precision of each task, of embeddings as `embedded` gives them."""
    embeddings = Embeddings(features, data.eval_rows, data.table, data.camera_distances, EmbeddingsMeta())
    return {task.name: evaluate_task(task, [embeddings]).record().mAP for task in data.tasks}


def _print(rows: Mapping[str, Mapping[str, Any]]) -> None:
    tasks = [*next(iter(rows.values())).get("mAP", {})]
    table = Table(title="In fewer bits, on ONNX Runtime", title_justify="left")
    counts = [*next(iter(rows.values()))["ms_per_image"]]
    speeds = [f"ms/image, {count} at once" for count in counts]
    for name in ("precision", "file", "MiB", "differs by", "least cosine", *speeds, *(f"mAP {task}" for task in tasks)):
        table.add_column(name, justify="left" if name in ("precision", "file") else "right")
    whole = rows["float32"]
    for name, row in rows.items():
        found = [f"{row['mAP'][task]:.4f} ({row['mAP'][task] - whole['mAP'][task]:+.4f})" for task in tasks]
        numbers = [str(row["mib"]), f"{row['max_difference']:.1e}", f"{row['min_cosine']:.5f}"]
        table.add_row(name, row["file"], *numbers, *(f"{row['ms_per_image'][count]:.1f}" for count in counts), *found)
    console().print(table)
