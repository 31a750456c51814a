"""The Lightning trainer of a configuration."""

from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from omegaconf import DictConfig

from src.runtime.errors import ConfigError
from src.runtime.progress import on_terminal
from src.runtime.training_lines import TrainingLines


def build_trainer(node: DictConfig, test: str = "Test", **options: Any) -> Trainer:
    """The Lightning trainer of a configuration.

    Args:
        node: Of the group `trainer`.
        test: What its test is called in a log.
        options: A stage's own, on top.

    Raises:
        ConfigError: If it asks for a GPU and there is none.
    """
    if node.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=gpu, but torch sees no GPU on this machine; pass trainer=cpu.")
    if options.get("enable_progress_bar", node.get("enable_progress_bar", True)):
        # A device waits whenever a number of its is shown, so that happens when loggers ask for them anyway.
        shown = TQDMProgressBar(max(1, node.log_every_n_steps)) if on_terminal() else TrainingLines(test)
        options["callbacks"] = [*options.get("callbacks", ()), shown]
    # Our samplers are right under DDP; Lightning's replacement would tear the identities of a batch apart.
    return instantiate(node, use_distributed_sampler=False, num_sanity_val_steps=0, **options)
