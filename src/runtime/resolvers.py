"""Functions that a configuration may call as `${…}`."""

import secrets
from pathlib import Path

from omegaconf import OmegaConf

from src.runtime.processes import on_first_process, run_id
from src.runtime.sweeps import sweep_of


def _sweep_name(run_dir: str) -> str | None:
    """`${sweep_name:<run folder>}`: the name of the sweep that a run is a job of, null for a single run."""
    sweep = sweep_of(Path(run_dir))
    return None if sweep is None else sweep.name


def _chosen(*groups: str) -> list[str]:
    """`${chosen:method,data}`: what was chosen from these groups of the configuration, where anything was."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return [str(choices[group]) for group in groups if choices.get(group)]


def _experiment(name: str) -> str:
    """`${experiment:bot_veri776}`: the name of an experiment's run, which says what was chosen instead of its own."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return name
    hydra = HydraConfig.get()
    given = [override.partition("=")[0] for override in hydra.overrides.task]
    others = [str(hydra.runtime.choices[group]) for group in ("method", "backbone", "data", "stages") if group in given]
    return "_".join([name, *(choice for choice in others if choice not in name)])


def register_resolvers() -> None:
    """Makes them known to OmegaConf; calling it again changes nothing."""
    # An id that is drawn once for a configuration and stays in it, so that a resumed run goes on under it.
    OmegaConf.register_new_resolver("new_id", lambda: secrets.token_hex(4), replace=True, use_cache=True)
    OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True)
    OmegaConf.register_new_resolver("chosen", _chosen, replace=True)
    OmegaConf.register_new_resolver("experiment", _experiment, replace=True)
    OmegaConf.register_new_resolver("run_id", run_id, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("on_first_process", on_first_process, replace=True)
