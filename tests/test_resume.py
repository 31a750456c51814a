"""A run that is told to end, or killed, goes on and ends with the very weights of one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from src import stages
from src.checkpoint import load_checkpoint
from src.methods.dndm import DNDM

#: Partners are drawn at random, so the generators' states matter too.
SMALL = (
    *("method=dndm", "method.pairing=random", "data=quickstart", "backbone=efficientnet_lite0", "transforms.size=64"),
    *("trainer=cpu", "+trainer.limit_train_batches=4", "sampler.ids=3", "sampler.day=1", "sampler.night=1"),
    *(
        "optim.schedule.warmup_epochs=0",
        "optim.schedule.milestones=[]",
        "optim.schedule.factors=[]",
        "validate_every=1",
    ),
    "optim.optimizer.lr=0.001",
)


def weights(run):
    return load_checkpoint(run / "stages/main/last.ckpt")["state_dict"]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on the threads
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_saves_between_two_batches(checked, tmp_path, monkeypatch, one_thread, workers):
    def made(name):
        return checked(*SMALL, "epochs=2", f"workers={workers}", f"paths.run_dir={tmp_path}/{name}")

    whole = stages.run(made("whole"))
    seen = []

    def terminate(method, batch, index):
        seen.append((method.current_epoch, index))
        if (method.current_epoch, index) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr("src.methods.dndm.DNDM.on_train_batch_start", terminate, raising=False)
        with pytest.raises(SIGTERMException):
            stages.run(made("stopped"))
    assert seen[-1] == (1, 1)
    stopped = load_checkpoint(tmp_path / "stopped/stages/main/last.ckpt")
    assert stopped["global_step"] == 6
    resumed = stages.run(stages.interrupted(f"{tmp_path}/stopped"))
    assert resumed["steps"] == whole["steps"] == 8
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    assert resumed["tasks"] == whole["tasks"]


def test_a_loss_that_is_no_number_stops_the_run_and_lists_the_images(composed, tmp_path, monkeypatch):
    cfg = composed(*SMALL, "epochs=3", "workers=0", f"paths.run_dir={tmp_path}/run")
    losses = DNDM.losses

    def broken(method, batch):
        found = losses(method, batch)
        if (method.current_epoch, method.global_step) == (1, 7):  # the last batch of the second epoch
            broken.rows = batch["row"].tolist()
            found["cross_entropy"] = found["cross_entropy"] * torch.nan
        return found

    monkeypatch.setattr(DNDM, "losses", broken)
    with pytest.raises(
        ValueError, match=r"The loss is nan in step 8 .*not_finite_0\.csv\. .*lower optim\.optimizer\.lr"
    ):
        stages.run(cfg)
    stage = tmp_path / "run/stages/main"
    listed = pd.read_csv(stage / "not_finite_0.csv")
    table = pd.read_csv(stage / "table.csv")
    assert listed["row"].tolist() == broken.rows
    assert listed["path"].tolist() == table["path"][broken.rows].tolist()
    last = load_checkpoint(stage / "last.ckpt")
    assert last["global_step"] == 4
    assert all(value.isfinite().all() for value in last["state_dict"].values())


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_one_left_alone(tmp_path, quickstart):
    epochs = 8

    def start(folder, *overrides):
        command = [sys.executable, "-m", "src.train", *SMALL, f"epochs={epochs}", "workers=0", *overrides]
        command += [f"paths.data_dir={quickstart.parent}", f"paths.run_dir={folder}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*command, f"hydra.run.dir={folder}"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def finish(process):
        output = process.communicate()[0].decode()
        assert process.returncode == 0, output

    finish(start(tmp_path / "whole"))
    killed, kills, rng = tmp_path / "killed", 0, random.Random(0)
    last = killed / "stages/main/last.ckpt"
    process = start(killed)
    while kills < 2 and process.poll() is None:
        before = last.stat().st_mtime_ns if last.exists() else 0
        while process.poll() is None and (not last.exists() or last.stat().st_mtime_ns == before):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is None:
            process.kill()
            process.wait()
            if (killed / "metrics.json").exists():  # it was done just before
                break
            kills += 1
            process = start(killed, f"resume={killed}")
    else:
        finish(process)
    assert kills > 0
    assert_same(weights(tmp_path / "whole"), weights(killed))
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed"))
    assert one["tasks"] == other["tasks"]
    assert one["steps"] == other["steps"] == 4 * epochs
