import datetime as dates

import pytest
from omegaconf import OmegaConf
from torch.distributed import TCPStore

from src.runtime import processes
from src.runtime.processes import agree_on, launched, on_first_process, run_id


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock(monkeypatch):
    """Time goes on by a second whenever it is looked at."""
    seconds = iter(range(60))

    class Clock(dates.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 21, 20, 30, next(seconds))

    monkeypatch.setattr(processes, "datetime", Clock)


def tell(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def test_alone_the_run_is_named_by_its_start_which_a_configuration_asks_for_once(clock):
    assert launched() is None
    assert run_id() == "2026-11-21_20-30-00"
    cfg = OmegaConf.create({"run": "${run_id:}", "again": "${run_id:}"})
    assert cfg.run == cfg.again == "2026-11-21_20-30-01"


def test_processes_of_torchrun_take_what_the_first_says(monkeypatch, clock):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    tell(monkeypatch, TORCHELASTIC_RUN_ID="none", WORLD_SIZE=2, GROUP_WORLD_SIZE=2)
    tell(monkeypatch, MASTER_ADDR="127.0.0.1", MASTER_PORT=store.port)
    monkeypatch.setenv("RANK", "0")
    assert (run_id(), on_first_process("first", "other")) == ("2026-11-21_20-30-00", "first")
    agree_on("2026-11-21_20-30-00_2")
    monkeypatch.setenv("RANK", "1")
    agree_on("another")  # is not this one's to say
    assert (run_id(), on_first_process("first", "other")) == ("2026-11-21_20-30-00_2", "other")


def test_tasks_of_srun_take_the_numbers_of_their_job_and_step(monkeypatch):
    tell(monkeypatch, SLURM_JOB_ID=4711, SLURM_STEP_ID=0, SLURM_NTASKS=16, SLURM_NNODES=2, SLURM_PROCID=3)
    assert launched() == ("srun", 3, 16, 2)
    assert run_id() == "slurm_4711_0"
    assert on_first_process("first") is None
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert launched() is None
