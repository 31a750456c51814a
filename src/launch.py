"""Starts the processes of a distributed run on this machine."""

import os
import subprocess
import sys

import torch
from omegaconf import DictConfig

from src.config import ConfigError


def local_processes(trainer: DictConfig) -> int:
    """How many processes this machine must start for a trainer: 1 without DDP or inside a cluster's launcher."""
    if not str(trainer.strategy).startswith("ddp") or "LOCAL_RANK" in os.environ or "SLURM_NTASKS" in os.environ:
        return 1
    on_gpu = trainer.accelerator == "gpu" or (trainer.accelerator == "auto" and torch.cuda.is_available())
    if isinstance(trainer.devices, int) and trainer.devices > 0:
        return trainer.devices
    if not on_gpu:
        if trainer.devices in ("auto", -1):
            return 1
        raise ConfigError(f"trainer.devices={trainer.devices} is no number of CPU processes; pass trainer.devices=2.")
    return torch.cuda.device_count() if trainer.devices in ("auto", -1) else len(str(trainer.devices).split(","))


def relaunch(module: str, processes: int) -> None:
    """Runs `python -m <module>` again in several processes with torchrun, and waits for them.

    Every process composes the same configuration into the same run folder. Lightning can start processes itself, but
    its children repeat the whole command line, which under `--multirun` is the whole sweep.

    Raises:
        SystemExit: With torchrun's exit code, if a process failed.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", module, *hydra.overrides.task]
    # The parent has written .hydra already.
    command += [f"hydra.run.dir={hydra.runtime.output_dir}", "hydra.output_subdir=null"]
    threads = max(1, (os.cpu_count() or 1) // processes)
    code = subprocess.run(command, env={"OMP_NUM_THREADS": str(threads), **os.environ}, check=False).returncode
    if code:
        sys.exit(code)
