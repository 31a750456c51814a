"""Vehicles that a run puts aside to be tested on: the same in all its stages, and only those of its target."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from src.runtime.errors import ConfigError


def share_holdout(cfg: DictConfig) -> None:
    """Holds out the same vehicles in every stage that reads the data set which the run is tested on.

    Which ones is a function of the data set alone (`hold_out`), so a stage on it and one on a pool with it put the same
    aside; all that is needed is that every stage does.

    Args:
        cfg: The checked configuration of `src.train`, pools completed; changed in place.

    Raises:
        ConfigError: If the shares differ, vehicles of another data set shall be held out, or a stage reads the target
            in another way, so that other vehicles would be drawn.
    """
    given = _given(cfg)
    if not given:
        return
    if len({*given.values()}) > 1:
        shown = ", ".join(f"{key}.holdout={share} {key}.holdout_seed={seed}" for key, (share, seed) in given.items())
        raise ConfigError(f"A run holds out the same vehicles in all its stages, but {shown}; give one share and seed.")
    share, seed = next(iter(given.values()))
    *_, last = cfg.stages
    target_key, target = _tested(f"stages.{last}.data", cfg.stages[last].data)
    for key in given:
        _check_is_target(cfg, key, target)
    for name, stage in cfg.stages.items():
        found = [
            (source, node)
            for source, node in _sources(stage.data).items()
            if Path(node.layout.root).resolve() == Path(target.layout.root).resolve()
        ]
        for _, node in found:
            if _reading(node) != _reading(target):
                raise ConfigError(
                    f"stages.{name}.data reads {node.layout.root} in another way than {target_key}, so other vehicles "
                    "would be held out in each of them; make the two layouts alike (and first_ids), or leave holdout."
                )
        if len(found) > 1:
            raise ConfigError(f"stages.{name}.data reads {target.layout.root} twice; leave one, or leave holdout.")
        with open_dict(stage.data):
            stage.data.holdout = share if found else 0
            stage.data.holdout_seed = seed
            if found and "sources" in stage.data:
                stage.data.holdout_dataset = found[0][0]
                for node in stage.data.sources.values():
                    node.holdout = 0  # the pool's is what counts


def _given(cfg: DictConfig) -> dict[str, tuple[float, int]]:
    """Every share that is given, with the seed of its draw, by its key."""
    nodes = {"data": cfg.data} | {f"stages.{name}.data": stage.data for name, stage in cfg.stages.items()}
    nodes |= {
        f"{key}.sources.{name}": source
        for key, node in [*nodes.items()]
        for name, source in (node.get("sources") or {}).items()
    }
    return {
        key: (float(node.holdout), int(node.get("holdout_seed", 0)))
        for key, node in nodes.items()
        if node.get("holdout")
    }


def _tested(key: str, data: DictConfig) -> tuple[str, DictConfig]:
    """The single data set that a data node is tested on."""
    if "sources" not in data:
        return key, data
    if data.target is None:
        raise ConfigError(
            f"{key} has no target, so there are no vehicles to hold out of it; pass data.target=<source>."
        )
    return f"{key}.sources.{data.target}", data.sources[data.target]


def _check_is_target(cfg: DictConfig, key: str, target: DictConfig) -> None:
    """Refuses to hold out vehicles of a data set that the run is not tested on."""
    node = OmegaConf.select(cfg, key)
    single = _tested(key, node)[1]
    if Path(single.layout.root).resolve() != Path(target.layout.root).resolve():
        raise ConfigError(
            f"{key}.holdout={node.holdout}, but the run is tested on {target.name}, whose vehicles alone can be held "
            f"out; leave {key}.holdout at 0."
        )


def _sources(data: DictConfig) -> dict[str, DictConfig]:
    return dict(data.sources.items()) if "sources" in data else {str(data.name): data}


def _reading(node: DictConfig) -> tuple[Any, Any]:
    """Settings that decide which training vehicles a data set has."""
    layout: Any = OmegaConf.to_container(node.layout, resolve=True)
    alike = {key: value for key, value in layout.items() if key not in ("name", "root")}
    return alike, node.get("first_ids")
