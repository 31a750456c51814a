"""Data nodes: what a file of `conf/data/` says, and the data module made of it."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.data import ReIDDataModule

DATA_MODULE = "src.data.ReIDDataModule"
#: Keys that other keys of the node refer to, as `${..root}`, and that the data module does not take.
ANCHORS = ("name", "root", "sources", "target")
#: Arguments of the data module that are none of the data set's: the run, the stage and the method give them.
RUN_OPTIONS = frozenset(
    {
        *("transforms", "sampler", "workers", "eval_batch_size", "seed"),
        *("needs", "class_column", "mined", "names", "repeat_batches"),
    }
)


def build_data(node: DictConfig, **options: Any) -> ReIDDataModule:
    """The data module that a data node describes.

    Args:
        node: A node of the group `data`; one of a checkpoint written before data nodes named their class has none.
        options: Some of `RUN_OPTIONS`: plain values, and nodes with a `_target_`.
    """
    said = OmegaConf.to_container(node, resolve=True)
    assert isinstance(said, dict)
    arguments = {str(key): value for key, value in said.items() if key not in ANCHORS}
    for name, value in options.items():
        arguments[name] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    data: ReIDDataModule = instantiate({"_target_": DATA_MODULE} | arguments, _convert_="all")
    return data


def loading(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the data module on how a command loads images, from its configuration."""
    return {key: cfg[key] for key in ("seed", "workers", "eval_batch_size")}
