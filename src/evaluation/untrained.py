"""Pretrained features as a checkpoint: what a backbone knows of a data set with no training."""

from pathlib import Path
from typing import Any, cast

from hydra import compose
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf, open_dict

from src.checkpoints.checkpoint_file import WholeCheckpoints
from src.checkpoints.restore import build_method
from src.config.targets import check_targets
from src.runtime.errors import ConfigError

STAGE = "untrained"


def refuse_backbone(cfg: DictConfig) -> None:
    """Refuses a backbone, or its transforms, where the checkpoint or the embeddings have their own.

    Raises:
        ConfigError: If one is there.
    """
    if named := [name for name in ("backbone", "transforms") if cfg.get(name)]:
        raise ConfigError(
            f"{named[0]} is what the checkpoint has; remove it, or pass untrained=true without checkpoint."
        )


def write_untrained(cfg: DictConfig, folder: Path) -> Path:
    """Writes a backbone's pretrained features as a checkpoint, which every command takes as it takes a trained one.

    Args:
        cfg: The configuration of `src.evaluate`, with a backbone and a data set.
        folder: Of the run; the checkpoint is `stages/untrained/last.ckpt` in it.

    Raises:
        ConfigError: If the backbone or the data set is missing.
    """
    for key in ("backbone", "data"):
        if not cfg.get(key):
            raise ConfigError(f"untrained=true needs to know its {key}; pass {key}=<one of conf/{key}>.")
    if not cfg.get("transforms"):
        with open_dict(cfg):
            cfg.transforms = compose("transforms/bot").transforms
    seed_everything(cfg.seed, workers=True, verbose=False)
    nodes = OmegaConf.create(
        {
            "method": {"_target_": "src.methods.pretrained.PretrainedFeatures", "pooling": cfg.pooling},
            "backbone": OmegaConf.to_container(cfg.backbone, resolve=True),
            "stages": {STAGE: {key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("data", "transforms")}},
        }
    )
    check_targets(nodes)
    method = build_method(nodes, 0, {})
    reid = {
        "config": cast(dict[str, Any], OmegaConf.to_container(nodes)),
        "stage": STAGE,
        "labels": [],
        "names": {},
        "data": {"name": str(cfg.data.get("name", "")), "fingerprint": ""},
    }
    path = folder / "stages" / STAGE / "last.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    WholeCheckpoints().save_checkpoint({"state_dict": method.state_dict(), "reid": reid}, path)
    return path
