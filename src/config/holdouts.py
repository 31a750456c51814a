"""Vehicles that a run puts aside, to be tested on or calibrated: the same in all stages, only those of its target."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from src.runtime.errors import ConfigError

_WHAT = {"holdout": "holds out", "calibration": "calibrates on"}
#: Share → the options that say which vehicles it draws, and of which type they are.
_OPTIONS: dict[str, dict[str, type[float]]] = {
    "holdout": {"holdout": float, "holdout_seed": int},
    "calibration": {"calibration": float},
}


def share_holdout(cfg: DictConfig) -> None:
    """Puts the same vehicles aside in every stage that reads the data set which the run is tested on.

    Which ones is a function of the data set alone (`hold_out`, `put_aside`), so a stage on it and one on a pool with it
    put the same aside; all that is needed is that every stage does.

    Args:
        cfg: The checked configuration of `src.train`, pools completed; changed in place.

    Raises:
        ConfigError: If the shares differ, vehicles of another data set shall be held out, or a stage reads the target
            in another way, so that other vehicles would be drawn.
    """
    for share in _WHAT:
        _share(cfg, share)


def _share(cfg: DictConfig, what: str) -> None:
    """The same for one of the two shares, a key of data nodes."""
    given = _given(cfg, what)
    if not given:
        return
    if any(options != next(iter(given.values())) for options in given.values()):
        shown = ", ".join(
            " ".join(f"{key}.{name}={value}" for name, value in options.items()) for key, options in given.items()
        )
        one = "share and seed" if len(_OPTIONS[what]) > 1 else "share"
        raise ConfigError(f"A run {_WHAT[what]} the same vehicles in all its stages, but {shown}; give one {one}.")
    options = next(iter(given.values()))
    *_, last = cfg.stages
    target_key, target = _tested(f"stages.{last}.data", cfg.stages[last].data)
    for key in given:
        _check_is_target(cfg, key, target, what)
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
                    f"would be held out in each of them; make the two layouts alike (and first_ids), or leave {what}."
                )
        if len(found) > 1:
            raise ConfigError(f"stages.{name}.data reads {target.layout.root} twice; leave one, or leave {what}.")
        with open_dict(stage.data):
            stage.data.update(options if found else options | {what: 0})
            if found and "sources" in stage.data:
                stage.data.holdout_dataset = found[0][0]
                for node in stage.data.sources.values():
                    node[what] = 0  # the pool's is what counts


def _given(cfg: DictConfig, what: str) -> dict[str, dict[str, float]]:
    """The options of every share that is given, by the key of its node."""
    nodes = {"data": cfg.data} | {f"stages.{name}.data": stage.data for name, stage in cfg.stages.items()}
    nodes |= {
        f"{key}.sources.{name}": source
        for key, node in [*nodes.items()]
        for name, source in (node.get("sources") or {}).items()
    }
    return {
        key: {name: kind(node.get(name, 0)) for name, kind in _OPTIONS[what].items()}
        for key, node in nodes.items()
        if node.get(what)
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


def _check_is_target(cfg: DictConfig, key: str, target: DictConfig, what: str) -> None:
    """Refuses to put aside vehicles of a data set that the run is not tested on."""
    node = OmegaConf.select(cfg, key)
    single = _tested(key, node)[1]
    if Path(single.layout.root).resolve() != Path(target.layout.root).resolve():
        raise ConfigError(
            f"{key}.{what}={node[what]}, but the run is tested on {target.name}, whose vehicles alone can be held "
            f"out; leave {key}.{what} at 0."
        )


def _sources(data: DictConfig) -> dict[str, DictConfig]:
    return dict(data.sources.items()) if "sources" in data else {str(data.name): data}


def _reading(node: DictConfig) -> tuple[Any, Any]:
    """Settings that decide which training vehicles a data set has."""
    layout: Any = OmegaConf.to_container(node.layout, resolve=True)
    alike = {key: value for key, value in layout.items() if key not in ("name", "root")}
    return alike, node.get("first_ids")
