"""The record table of a gallery: a folder of images, a CSV file, or a data set."""

from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.data import make_table
from src.data.layouts import HasCameraDistances
from src.data.layouts.csv_file import CSVFile
from src.data.layouts.extra import add_extra
from src.embed import image_files
from src.runtime.errors import ConfigError


def gallery_records(cfg: DictConfig) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The record table of what `src.index` is asked to embed, and the road distances between its cameras if known.

    Raises:
        ConfigError: If it is not said what, or nothing of it is there.
        DataError: If the list of images is wrong.
    """
    if (cfg.images is None) == (cfg.get("data") is None):
        raise ConfigError("Pass images=<a folder or a CSV file> or data=<a data set>, one of them.")
    if cfg.images is not None:
        return own_images(Path(cfg.images)), None
    layout = instantiate(cfg.data.layout, _convert_="all")
    table = layout.read()
    if cfg.data.get("extra") is not None:
        table = add_extra(table, cfg.data.extra, layout.name)
    chosen = table[table["split"].isin(list(cfg.splits))].reset_index(drop=True)
    if chosen.empty:
        found = ", ".join(sorted(set(table["split"])))
        raise ConfigError(f"{layout.name} has no images of splits={list(cfg.splits)}, but of {found}; choose of these.")
    chosen["root"] = [str(Path(root).resolve()) for root in chosen["root"]]
    return chosen, layout.camera_distances() if isinstance(layout, HasCameraDistances) else None


def own_images(path: Path, key: str = "images") -> pd.DataFrame:
    """The record table of a folder of images, or of a CSV file with a line an image.

    Args:
        path: Where it is.
        key: What named it, as an error says it.

    Raises:
        ConfigError: If it is neither.
        DataError: If the file is wrong.
    """
    root = (path if path.is_dir() else path.parent).resolve()
    columns: dict[str, Any] = {"split": "gallery"}
    if path.is_dir():
        columns["path"] = [file.relative_to(path).as_posix() for file in image_files(path)]
    elif path.is_file():
        records = CSVFile.read(path, path.stem, required=("path",))
        records.check_values(may_be_empty=("vehicle_id", "split"))
        columns |= {name: records.values(name) for name in records.columns if name != "split"}
    else:
        raise ConfigError(f"{key}={path} is neither a folder nor a CSV file.")
    return make_table(root, path.stem, columns)
