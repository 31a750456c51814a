"""Options of the trainer: which a run decides itself, and what to say instead of them."""

from typing import Any

from omegaconf import DictConfig

from src.runtime.errors import ConfigError

_LENGTH = "a stage is as long as its epochs, pass epochs=… or stages.<stage>.epochs=…"
_VALIDATION = "every validation is of all test images, pass validate_every=… to have fewer of them"
_WHOLE = "a metric is of all test images, pass validate_every=… to validate less often, or debug=one_batch"
#: Options of Lightning's trainer that a run sets itself, or under which its numbers would mean something else.
_INSTEAD = {
    "max_epochs": "pass epochs={value}",
    **dict.fromkeys(("min_epochs", "max_steps", "min_steps", "max_time"), _LENGTH),
    "check_val_every_n_epoch": "pass validate_every={value}",
    "val_check_interval": _VALIDATION,
    "num_sanity_val_steps": "pass debug=one_batch to try the validation",
    "use_distributed_sampler": "the samplers here deal out their batches to the processes themselves",
    "fast_dev_run": "pass debug=one_batch",
    "overfit_batches": "pass debug=overfit",
    **dict.fromkeys(("limit_val_batches", "limit_test_batches", "limit_predict_batches"), _WHOLE),
    "logger": "pass logger=csv, wandb, tensorboard or mlflow, several as logger=[wandb,mlflow], null for none",
    "callbacks": "they are the group callbacks",
    "plugins": "checkpoints are written by one of its own",
    "enable_checkpointing": "the checkpoints are what a run is for",
    "default_root_dir": "pass hydra.run.dir=…",
    "barebones": "it leaves out the checkpoints and the log",
    "reload_dataloaders_every_n_epochs": "the samplers draw anew in every epoch",
}
#: What is done anyway, and may be said.
_SAME = {
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "fast_dev_run": False,
    "overfit_batches": 0,
    "limit_val_batches": 1.0,
    "limit_test_batches": 1.0,
    "limit_predict_batches": 1.0,
    "barebones": False,
}


def check_trainer(trainer: DictConfig) -> None:
    """Refuses options that a run would override, or that would make its numbers those of something else.

    Raises:
        ConfigError: Names what to pass instead.
    """
    for name, instead in _INSTEAD.items():
        if trainer.get(name) is not None and not _is_done_anyway(name, trainer[name]):
            said = instead.format(value=trainer[name])
            raise ConfigError(f"trainer.{name}={trainer[name]} is not the trainer's to decide: {said}.")
    batches = trainer.get("limit_train_batches")
    if batches is not None and not (0 < batches <= 1 or (isinstance(batches, int) and batches >= 1)):
        raise ConfigError(
            f"trainer.limit_train_batches is {batches}, expected a number of batches from 1, or a share above 0.0."
        )


def check_sync_batchnorm(trainer: DictConfig) -> None:
    """Refuses statistics that processes share where torch cannot: on CPUs."""
    import torch

    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not torch.cuda.is_available())
    if trainer.get("sync_batchnorm") and str(trainer.strategy).startswith("ddp") and on_cpu:
        raise ConfigError(
            "trainer.sync_batchnorm=true needs GPUs, torch cannot share the statistics of processes on CPUs; pass "
            "trainer.sync_batchnorm=false."
        )


def _is_done_anyway(name: str, value: Any) -> bool:
    same = _SAME.get(name)
    # 1 is one batch, 1.0 all of them.
    return same is not None and value == same and not (name.startswith("limit_") and isinstance(value, int))
