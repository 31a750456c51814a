"""Starts the processes of a distributed run on this machine, or sees that a launcher has started the right ones."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import torch
from omegaconf import DictConfig

from src.runtime.errors import ConfigError, end_job
from src.runtime.processes import launched


def local_processes(trainer: DictConfig) -> int:
    """Number of processes that this machine must start for a trainer: 1 without DDP or if a launcher started them.

    Raises:
        ConfigError: If a launcher has started others than the trainer asks for, or there is none and the trainer asks
            for several nodes.
    """
    wanted, nodes = _wanted(trainer), int(trainer.get("num_nodes", 1))
    launch = launched()
    if launch is None:
        if nodes > 1:
            raise ConfigError(
                f"trainer.num_nodes={nodes}, but neither torchrun nor srun started this process; start it with one of "
                "them on every node (docs/hardware.md has the commands), or pass trainer=ddp for this machine alone."
            )
        return wanted
    if (launch.processes, launch.nodes) != (wanted * nodes, nodes):
        raise ConfigError(
            f"{launch.by} started {launch.processes} processes on {launch.nodes} nodes, but the trainer asks for "
            f"{wanted} (trainer.devices={trainer.devices}) on each of trainer.num_nodes={nodes}; pass trainer=ddp "
            f"trainer.devices={launch.processes // launch.nodes} trainer.num_nodes={launch.nodes}, or start others."
        )
    return 1


def _wanted(trainer: DictConfig) -> int:
    """Processes of a node that a trainer asks for."""
    if not str(trainer.strategy).startswith("ddp"):
        return 1
    on_gpu = trainer.accelerator == "gpu" or (trainer.accelerator == "auto" and torch.cuda.is_available())
    if isinstance(trainer.devices, int) and trainer.devices > 0:
        return trainer.devices
    if not on_gpu:
        if trainer.devices in ("auto", -1):
            return 1
        raise ConfigError(f"trainer.devices={trainer.devices} is no number of CPU processes; pass trainer.devices=2.")
    return torch.cuda.device_count() if trainer.devices in ("auto", -1) else len(str(trainer.devices).split(","))


def in_processes(module: str, trainer: DictConfig, work: Callable[[], object]) -> None:
    """Does the work of `python -m <module>` in as many processes as a trainer asks for; this one, if that is one."""
    processes = local_processes(trainer)
    if processes > 1:
        relaunch(module, processes)
    else:
        work()


def relaunch(module: str, processes: int) -> None:
    """Runs `python -m <module>` again in several processes with torchrun, and waits for them.

    Every process composes the same configuration into the same run folder. Lightning can start processes itself, but
    its children repeat the whole command line, which under `--multirun` is the whole sweep.

    Raises:
        SystemExit: With torchrun's exit code, if a process failed; with 143 if this one was told to end, as those that
            it started then are.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", module, *hydra.overrides.task]
    # The parent has written .hydra already.
    command += [f"hydra.run.dir={hydra.runtime.output_dir}", "hydra.output_subdir=null"]
    threads = max(1, (os.cpu_count() or 1) // processes)
    terminated = False

    def pass_on(*_: object) -> None:
        nonlocal terminated
        terminated = True
        torchrun.terminate()

    with subprocess.Popen(command, env={"OMP_NUM_THREADS": str(threads), **os.environ}) as torchrun:
        before = signal.signal(signal.SIGTERM, pass_on)  # else the processes would train on without this one
        code = torchrun.wait()
        signal.signal(signal.SIGTERM, before)
    if terminated:
        sys.exit(128 + signal.SIGTERM)
    if code:
        end_job(code)
