"""The processes of a distributed run, as torchrun or srun tell each of them in its environment."""

import os
from datetime import datetime
from typing import Any, NamedTuple


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

    It is the time of the start. Processes of torchrun take that of the quickest, from the store that their agents
    share; those of srun take the numbers of their job and step instead.
    """
    now = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    launch = launched()
    if launch is None:
        return now
    if launch.by == "srun":
        return f"slurm_{os.environ['SLURM_JOB_ID']}_{os.environ['SLURM_STEP_ID']}"
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return store.compare_set("reid_run_id", "", now).decode()


def on_first_process(value: Any, otherwise: Any = None) -> Any:
    """`value` on the first process of a run, `otherwise` on the others: what only one of them shall write or say."""
    launch = launched()
    return value if launch is None or launch.rank == 0 else otherwise
