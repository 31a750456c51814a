"""The processes of a distributed run, as torchrun or srun tell each of them in its environment."""

import os
from datetime import datetime
from typing import Any, NamedTuple

_RUN_ID = "reid_run_id"


class Launched(NamedTuple):
    """Launcher of this process, and its place among the others.

    Attributes:
        by: `"torchrun"` or `"srun"`.
        rank: Number of this process over all nodes.
        processes: How many there are over all nodes.
        nodes: How many nodes.
    """

    by: str
    rank: int
    processes: int
    nodes: int


def launched() -> Launched | None:
    """This process among those of its launcher; None if it was started alone.

    A single task of srun counts as alone: it may start the processes of its node itself.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:  # before srun, which may have started torchrun
        return Launched("torchrun", int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["GROUP_WORLD_SIZE"]))
    if "SLURM_STEP_ID" in env and int(env["SLURM_NTASKS"]) > 1:
        return Launched("srun", int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"]), int(env["SLURM_NNODES"]))
    return None


def run_id() -> str:
    """Name that tells a run's folder from others, the same in all its processes.

    It is the time of the start, with a number behind it where another run has that folder already. Processes of
    torchrun take that of the first one, from the store that their agents share, and wait until it has said so (see
    `agree_on`); those of srun take the numbers of their job and step instead.
    """
    launch = launched()
    if launch is None or (launch.by == "torchrun" and launch.rank == 0):
        return f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    if launch.by == "srun":
        return f"slurm_{os.environ['SLURM_JOB_ID']}_{os.environ['SLURM_STEP_ID']}"
    return _store().get(_RUN_ID).decode()


def agree_on(run_id: str) -> None:
    """Tells the other processes of torchrun what the first one's run is named."""
    launch = launched()
    if launch is not None and launch.by == "torchrun" and launch.rank == 0:
        _store().set(_RUN_ID, run_id)


def _store() -> Any:
    """The store that torchrun's agents share."""
    from torch.distributed import TCPStore

    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)


def on_first_process(value: Any, otherwise: Any = None) -> Any:
    """`value` on the first process of a run, `otherwise` on the others: what only one of them shall write or say."""
    launch = launched()
    return value if launch is None or launch.rank == 0 else otherwise
