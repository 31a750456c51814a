"""Pools: several data sets as one, with what their own files say filled in."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError

from src.config.data_node import DATA_MODULE
from src.config.schema import SOURCE_KEYS
from src.config.targets import check_keys
from src.runtime.command import CONF_DIR
from src.runtime.errors import ConfigError


def data_sets() -> list[str]:
    """Names of the data sets that `conf/data/` has files of."""
    return sorted(file.stem for file in Path(CONF_DIR, "data").glob("*.yaml") if file.stem != "default")


def complete_pools(cfg: DictConfig) -> None:
    """Fills in what pools do not say: of a source, what its file in `conf/data/` says; the tasks, from the target.

    A stage whose data is one of the pool's sources has it as a data set of its own.

    Args:
        cfg: The composed configuration of a command, with `data`, `stages` or both; changed in place.

    Raises:
        ConfigError: If a source has no file, is a pool itself, the target is not among the sources, or a stage takes a
            source and there is no pool.
    """
    nodes = {"data": cfg} | {f"stages.{name}.data": stage for name, stage in cfg.get("stages", {}).items()}
    for key, node in nodes.items():
        try:
            data = node.get("data")
        except InterpolationResolutionError as error:
            raise ConfigError(
                f"{key} is a source of the pool, but data={cfg.data.name} is no pool or has no target; pass data=pool "
                "with data.sources and data.target, or another choice of stages."
            ) from error
        if data and "sources" in data:
            with open_dict(data):
                _complete_pool(key, data)
        elif data and set(SOURCE_KEYS) & set(data):
            if data.get("first_ids") is not None:
                raise ConfigError(f"{key} is trained on whole; remove first_ids from that source of the pool.")
            said: Any = OmegaConf.to_container(data)
            with open_dict(node):
                alone = {name: value for name, value in said.items() if name not in SOURCE_KEYS}
                node.data = {"_target_": DATA_MODULE} | alone


def _complete_pool(key: str, pool: DictConfig) -> None:
    from hydra import compose

    for name, said in (pool.sources or {}).items():
        if said:
            said.pop("_target_", None)  # a source is read by its layout; the pool is the data module
        if said and "_target_" in said.get("layout", {}):
            continue
        check_keys(f"{key}.sources", OmegaConf.create({name: None}), data_sets(), owner="a pool's sources")
        base = compose(f"data/{name}").data
        if "sources" in base:
            raise ConfigError(f"{key}.sources.{name} is a pool itself; name its sources instead.")
        OmegaConf.set_struct(base, False)
        base.pop("_target_", None)
        pool.sources[name] = OmegaConf.merge(base, said or {})
    named, sources = pool.get("target"), pool.sources or {}
    if named is not None and named not in sources:
        raise ConfigError(f"{key}.target is {named!r}, expected one of {', '.join(sources)}, or null.")
    target = sources[named] if named is not None else {"tasks": [], "ap": "standard"}
    for name in ("tasks", "ap"):
        if pool.get(name) is None:
            pool[name] = target[name]
