"""Folders of runs: one each, whole, and nobody else's."""

import datetime as dates
import multiprocessing
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from torch.distributed import TCPStore

from src.runtime import processes
from src.runtime.errors import ConfigError
from src.runtime.resolvers import register_resolvers
from src.runtime.run_folder import OwnFolder, refuse_finished, run_of


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)


class Noon(dates.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 25, 12, 0, 0)


@pytest.fixture
def noon(monkeypatch):
    monkeypatch.setattr(processes, "datetime", Noon)


def own(folder, kind="run"):
    """The folder that a command started now makes; as Hydra asks for it."""
    register_resolvers()
    config = OmegaConf.create(
        {
            "resume": None,
            "hydra": {
                "run": {"dir": f"{folder}/name/${{run_id:}}"},
                "sweep": {"dir": f"{folder}/sweeps/${{run_id:}}"},
                "overrides": {"hydra": [], "task": []},
                "runtime": {"choices": {}},
            },
        }
    )
    from hydra.core.hydra_config import HydraConfig

    before, HydraConfig.set_config = HydraConfig.set_config, lambda *_: None
    try:
        callback = OwnFolder("metrics.json")
        (callback.on_run_start if kind == "run" else callback.on_multirun_start)(config)
    finally:
        HydraConfig.set_config = before
    return Path(config.hydra[kind].dir).name


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_two_that_start_within_a_second_have_a_folder_each(tmp_path, noon, kind):
    assert [own(tmp_path, kind) for _ in range(3)] == [f"2026-11-25_12-00-00{end}" for end in ("", "_2", "_3")]


def _many(folder, start, found):
    processes.datetime = Noon
    start.wait()
    found.put(own(folder))


def test_processes_that_start_at_the_same_moment_have_a_folder_each(tmp_path):
    fork = multiprocessing.get_context("fork")
    start, found = fork.Event(), fork.Queue()
    children = [fork.Process(target=_many, args=(tmp_path, start, found)) for _ in range(6)]
    for child in children:
        child.start()
    start.set()
    names = [found.get(timeout=60) for _ in children]
    for child in children:
        child.join(timeout=60)
    assert len(set(names)) == len(names) == 6
    assert sorted(names) == sorted(path.name for path in (tmp_path / "name").iterdir())


def test_processes_of_torchrun_share_the_folder_that_the_first_has_made(tmp_path, noon, monkeypatch):
    (tmp_path / "name/2026-11-25_12-00-00").mkdir(parents=True)  # of another run
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        **{"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)},
    }.items():
        monkeypatch.setenv(name, value)
    found = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        found.append(own(tmp_path))
    assert found == ["2026-11-25_12-00-00_2"] * 2


def test_tasks_of_srun_share_the_folder_of_their_step_also_when_they_are_started_again(tmp_path, monkeypatch):
    for name, value in {"SLURM_JOB_ID": 4711, "SLURM_STEP_ID": 0, "SLURM_NTASKS": 2, "SLURM_NNODES": 1}.items():
        monkeypatch.setenv(name, str(value))
    found = []
    for rank in (0, 1, 0):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        found.append(own(tmp_path))
    assert found == ["slurm_4711_0"] * 3


def written(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def finished(tmp_path):
    """A finished run, as the folder of a sweep's job."""
    run = tmp_path / "sweep" / "0"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "hydra.yaml").write_text("hydra:\n  mode: MULTIRUN\n")
    (run / "stages/main").mkdir(parents=True)
    (run / "stages/main/last.ckpt").write_bytes(b"weights")
    (run / "metrics.json").write_text("{}")
    (run / "train.log").write_text("log")
    return run


def test_a_refused_command_leaves_the_folder_of_a_finished_run_as_it_is(command, finished):
    before = written(finished)
    for overrides, said in (
        (["src.train", f"hydra.run.dir={finished}"], "already holds the results of a run; pass another folder"),
        (
            ["src.train", f"resume={finished}"],
            "is a finished run, whose results stay as they are; to train on from its",
        ),
        (["src.evaluate", f"hydra.run.dir={finished}"], "already holds the results of a run"),
        (["src.train", "--multirun", f"hydra.sweep.dir={finished.parent}", "seed=1,2"], "the results of 1 jobs"),
        (["src.train", "--multirun", f"resume={finished}", "seed=1,2"], "leave --multirun away"),
    ):
        done = command(*overrides)
        assert done.returncode == 1
        assert f"Error: {said}" in done.stderr or (said in done.stderr and done.stderr.startswith("Error: "))
        assert written(finished) == before
    assert [path.name for path in finished.parent.iterdir()] == ["0"]


def test_a_run_goes_on_in_its_own_folder_and_nowhere_else(command, finished):
    (finished / "metrics.json").unlink()
    before = written(finished / ".hydra")
    done = command("src.train", f"resume={finished}")
    assert "last.ckpt is no checkpoint" in done.stderr  # as it is none here
    assert written(finished / ".hydra") == before
    assert (finished / "error.txt").is_file()
    assert not (finished.parent.parent / "outputs").exists()
    done = command("src.train", f"resume={finished}", "hydra.run.dir=elsewhere")
    assert "goes on in its own folder, so leave hydra.run.dir=elsewhere away" in done.stderr
    assert not (finished.parent.parent / "elsewhere").exists()


def test_what_cannot_go_on_is_named(finished, tmp_path):
    with pytest.raises(ConfigError, match=rf"is a file, expected the folder .*; pass resume={finished}\."):
        run_of(f"{finished}/stages/main/last.ckpt")
    with pytest.raises(ConfigError, match=r"has no stages/<stage>/last\.ckpt yet"):
        run_of(str(tmp_path))
    with pytest.raises(ConfigError, match=rf"stages\.<its first stage>\.load={finished}/stages/main/last\.ckpt"):
        refuse_finished(finished, resume=str(finished))
    (finished / "metrics.json").unlink()
    assert run_of(str(finished)) == finished
    refuse_finished(finished)
