"""Names the colour and type of images, with what has learnt to."""

import logging
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from src.checkpoints.restore import restore_method, saved_transforms
from src.config.checks import one_or_more
from src.config.data_node import loading
from src.data import ReIDDataset, make_table
from src.data.loader_processes import loader_options
from src.embed import image_files
from src.evaluation.embedding import evaluation_data
from src.methods.attributes import NamesAttributes
from src.methods.base import ReIDMethod
from src.runtime.errors import ConfigError
from src.runtime.progress import tracked
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Writes the CSV file: columns path, colour and type, a line an image, empty where nothing is known.

    Args:
        cfg: The configuration of `src.label`.

    Returns:
        The file.

    Raises:
        ConfigError: If a checkpoint names no attributes, two name the same, or there are no images to label.
    """
    checkpoints = one_or_more(cfg.checkpoint)
    methods = {path: _restored(path) for path in checkpoints}
    _refuse_two(methods)
    table = _images(Path(cfg.images)) if cfg.images else _data_set(cfg, methods[checkpoints[0]])
    labels = pd.DataFrame({"path": table["path"], "colour": "", "type": ""})
    for method in methods.values():
        for attribute, names in predict(cfg, method, table).items():
            labels[attribute] = names
            _report(attribute, labels[attribute], table[attribute])
    out = Path(cfg.paths.run_dir) / cfg.out
    write_atomically(out, labels.to_csv(index=False))
    log.info("%d images: %s", len(labels), out)
    return out


def predict(cfg: DictConfig, method: ReIDMethod, table: pd.DataFrame) -> dict[str, list[str]]:
    """The names of each attribute that a method has learnt, one a record.

    Args:
        cfg: The configuration of `src.label`.
        method: One that names attributes.
        table: Records, with row numbers from 0.

    Returns:
        Attribute → names; empty where the most probable one is less probable than `cfg.confidence`.
    """
    dataset = ReIDDataset(table, saved_transforms(method).evaluation())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method = method.eval().to(device)
    learnt = cast(NamesAttributes, method)
    labels: dict[str, list[str]] = {attribute: [] for attribute in learnt.names}
    loader = DataLoader(dataset, cfg.eval_batch_size, **loader_options(cfg.workers or 0))
    with torch.inference_mode():
        for batch in tracked(loader, "Labelling", len(loader), "batches"):
            seen = {name: value.to(device) for name, value in batch.items()}
            for attribute, logits in learnt.attribute_logits(seen).items():
                shares, places = logits.float().softmax(dim=1).max(dim=1)
                for share, place in zip(shares.tolist(), places.tolist(), strict=True):
                    labels[attribute].append(learnt.names[attribute][place] if share >= cfg.confidence else "")
    return labels


def _restored(path: str) -> ReIDMethod:
    method = restore_method(Path(path))
    if not isinstance(method, NamesAttributes) or not method.names:
        raise ConfigError(
            f"{path} is of {type(method).__name__} and names no colours or types; pass a checkpoint of "
            "method=attribute_classifier or of method=attribute_guided with attributes."
        )
    return method


def _refuse_two(methods: dict[str, ReIDMethod]) -> None:
    """Refuses checkpoints that name the same attribute."""
    of: dict[str, str] = {}
    for path, method in methods.items():
        for attribute in cast(NamesAttributes, method).names:
            if attribute in of:
                raise ConfigError(f"{of[attribute]} and {path} both name the {attribute}; pass one of them.")
            of[attribute] = path


def _data_set(cfg: DictConfig, method: ReIDMethod) -> pd.DataFrame:
    """The records to label of a data set, each image once."""
    data = evaluation_data(method, cfg.get("data"), tasks=[], **loading(cfg))  # images of one camera have colours too
    data.setup("test")
    table = data.table[data.table["split"].isin([*cfg.splits])].drop_duplicates(["path", "box"]).reset_index(drop=True)
    if table.empty:
        splits = ", ".join(sorted(set(data.table["split"])))
        raise ConfigError(f"{data.name} has no {' or '.join(cfg.splits)} images, only {splits}; pass splits=[…].")
    if (several := table["path"][table["path"].duplicated()]).size:
        raise ConfigError(
            f"{several.iloc[0]} of {data.name} shows several vehicles in a box each, but the file has one line an "
            "image; label images of single vehicles."
        )
    return table


def _images(folder: Path) -> pd.DataFrame:
    """The images below a folder as records."""
    paths = [file.relative_to(folder).as_posix() for file in image_files(folder)]
    return make_table(folder, folder.name, {"path": paths, "split": "gallery"})


def _report(attribute: str, names: pd.Series, truth: pd.Series) -> None:
    """Says how many were named, and how many rightly where that is known; the file does not depend on it."""
    log.info("%s: %d of %d images named.", attribute, (names != "").sum(), len(names))
    judged = (truth != "") & (names != "")
    if judged.any():
        share = (names == truth)[judged].mean()
        log.info("%s: %.1f %% of the %d whose %s is known are right.", attribute, 100 * share, judged.sum(), attribute)
