"""Processes of a run: how many are asked for, and what those of a launcher agree on."""

import multiprocessing
import os
import socket
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.distributed.run
from omegaconf import OmegaConf

from src.runtime.errors import ConfigError
from src.runtime.launch import local_processes


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)


def trainer(strategy="ddp", accelerator="cpu", devices=2, num_nodes=1):
    return OmegaConf.create(
        {"strategy": strategy, "accelerator": accelerator, "devices": devices, "num_nodes": num_nodes}
    )


def started(monkeypatch, by, processes, nodes):
    """Sets what a launcher tells its processes."""
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "RANK": 0, "WORLD_SIZE": processes, "GROUP_WORLD_SIZE": nodes}
    srun = {"SLURM_STEP_ID": 0, "SLURM_PROCID": 0, "SLURM_NTASKS": processes, "SLURM_NNODES": nodes}
    for name, value in {"torchrun": torchrun, "srun": srun}[by].items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("strategy", "accelerator", "devices", "gpus", "expected"),
    [
        ("auto", "auto", 4, 8, 1),
        ("ddp", "cpu", 2, 0, 2),
        ("ddp", "cpu", "auto", 8, 1),
        ("ddp", "auto", "auto", 0, 1),
        ("ddp", "auto", "auto", 8, 8),
        ("ddp", "gpu", -1, 4, 4),
        ("ddp_find_unused_parameters_true", "gpu", "0,2", 4, 2),
        ("ddp", "gpu", 3, 4, 3),
    ],
)
def test_how_many_processes_a_trainer_asks_for(monkeypatch, strategy, accelerator, devices, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert local_processes(trainer(strategy, accelerator, devices)) == expected


@pytest.mark.parametrize("by", ["torchrun", "srun"])
def test_inside_a_launcher_nothing_is_started(monkeypatch, by):
    started(monkeypatch, by, 16, nodes=2)
    assert local_processes(trainer(devices=8, num_nodes=2)) == 1


def test_a_single_task_of_srun_starts_the_processes_of_its_node(monkeypatch):
    started(monkeypatch, "srun", 1, nodes=1)
    assert local_processes(trainer(devices=2)) == 2


@pytest.mark.parametrize("by", ["torchrun", "srun"])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (trainer(devices=4, num_nodes=2), r"for 4 \(trainer.devices=4\) on each of trainer.num_nodes=2"),
        (trainer(devices=8), r"for 8 \(trainer.devices=8\) on each of trainer.num_nodes=1"),
        (trainer("auto", devices=1), r"for 1 \(trainer.devices=1\) on each of trainer.num_nodes=1"),
    ],
)
def test_other_processes_than_the_trainer_asks_for_are_refused(monkeypatch, by, asked, said):
    started(monkeypatch, by, 16, nodes=2)
    fix = "pass trainer=ddp trainer.devices=8 trainer.num_nodes=2, or start others"
    with pytest.raises(ConfigError, match=f"{by} started 16 processes on 2 nodes, .* {said}; {fix}"):
        local_processes(asked)


def test_several_nodes_need_a_launcher():
    with pytest.raises(ConfigError, match=r"trainer.num_nodes=2, but neither torchrun nor srun started this process"):
        local_processes(trainer(num_nodes=2))


def test_names_of_cpus_are_refused():
    with pytest.raises(ConfigError, match=r"trainer\.devices=2"):
        local_processes(trainer(devices="0,1"))


def node(folder, number, port):
    """What one of two machines does: torchrun with one process."""
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    said = os.open(folder / f"node_{number}.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    launcher = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    run = ["trainer=ddp_multinode", "trainer.accelerator=cpu", "method=bot", "data=quickstart", "debug=one_batch"]
    small = ["backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "retrieval.queries=0", "sampler.ids=8"]
    rates = ["optim.scale_lr=linear", "optim.reference_batch=32"]
    data = f"data.root={Path(__file__).resolve().parents[2] / 'data' / 'quickstart'}"
    torch.distributed.run.main([*launcher, "-m", "src.train", *run, *small, *rates, data])


@pytest.mark.slow
def test_two_nodes_make_one_run(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")  # a fresh torchrun would take seconds to import all there is
    nodes = [fork.Process(target=node, args=(tmp_path, number, port)) for number in range(2)]
    for process in nodes:
        process.start()
    for process in nodes:
        process.join(timeout=300)
        process.kill()  # where it hangs
    assert [process.exitcode for process in nodes] == [0, 0], (tmp_path / "node_0.txt").read_text()
    (run,) = (tmp_path / "outputs" / "bot_quickstart").iterdir()
    assert {"metrics.json", ".hydra", "train.log"} <= {path.name for path in run.iterdir()}
    assert (run / "train.log").read_text().count("Stage main") == 1
    log = pd.read_csv(run / "stages/main/metrics.csv")
    (rate,) = log["lr-Adam/pg1"].dropna()
    assert rate == pytest.approx(3.5e-4 * 0.1 * 2)  # warm-up; 2 × 32 images a step
