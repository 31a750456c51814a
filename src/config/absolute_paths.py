"""Paths as they are found from every folder: a checkpoint keeps them, and is used elsewhere."""

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

#: Values of `backbone.weights` and `stages.<stage>.load` that are no paths.
_WORDS = ("timm", "package", "previous")


def make_absolute(cfg: DictConfig) -> None:
    """Writes the paths of data, side data and weights as absolute ones, a `~` in them as the home folder.

    Args:
        cfg: The configuration of a command, with pools completed; changed in place.
    """
    for node, name in _paths(cfg):
        path = node.get(name)
        # A path below another node's (`layout.root: ${..root}`) follows it.
        if isinstance(path, str) and path not in _WORDS and not _follows(node, name):
            with open_dict(node):
                node[name] = str(Path(path).expanduser().absolute())


def _paths(cfg: DictConfig) -> Iterator[tuple[DictConfig, str]]:
    stages = [*cfg.get("stages", {}).values()]
    for owner in (cfg, *stages):
        data = owner.get("data")
        if data is None:
            continue
        for place in (data, *(source for source in (data.get("sources") or {}).values() if source)):
            yield from ((place, name) for name in ("root", "extra"))
            if "layout" in place:
                yield place.layout, "root"
    if "mlflow" in (cfg.get("logger") or {}):
        yield cfg.logger.mlflow, "folder"
    if "backbone" in cfg:
        yield cfg.backbone, "weights"
    for stage in stages:
        yield stage, "load"
        if stage.get("mine"):
            yield stage.mine, "checkpoint"


def _follows(node: DictConfig, name: str) -> bool:
    written = str(OmegaConf.to_container(node, resolve=False).get(name))  # type: ignore[union-attr]
    return written.startswith("${..") and written.endswith("}")
