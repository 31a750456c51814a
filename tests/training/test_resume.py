"""A run that is told to end, or killed, goes on and ends with the very weights of one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import OmegaConf

from src.checkpoints.checkpoint_file import load_checkpoint
from src.methods.dndm import DNDM
from src.training import run as stages
from src.training.callbacks import SaveWhenTerminated

#: Partners are drawn at random, so the generators' states matter too.
SMALL = (
    *("method=dndm", "method.pairing=random", "data=quickstart", "backbone=efficientnet_lite0", "transforms.size=32"),
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
def test_sigterm_saves_between_two_batches(checked, tmp_path, monkeypatch, one_thread):
    def made(name, workers):
        return checked(*SMALL, "epochs=2", f"workers={workers}", f"paths.run_dir={tmp_path}/{name}")

    whole = stages.run(made("whole", 0))
    # Epoch and number of the batch at whose start the signal comes, and the steps that the checkpoint then has.
    for hook, moment, steps, workers in (("train", (1, 1), 6, 2), ("validation", (0, 1), 4, 0)):
        stopped = tmp_path / hook
        seen = []

        def terminate(method, batch, index, seen=seen, moment=moment):
            seen.append((method.current_epoch, index))
            if seen[-1] == moment:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patched:
            patched.setattr(f"src.methods.dndm.DNDM.on_{hook}_batch_start", terminate, raising=False)
            with pytest.raises(SIGTERMException):
                stages.run(made(hook, workers))
        assert seen[-1] == moment
        assert load_checkpoint(stopped / "stages/main/last.ckpt")["global_step"] == steps
        resumed = stages.run(stages.interrupted(str(stopped)))
        assert resumed.steps == whole.steps == 8
        assert_same(weights(tmp_path / "whole"), weights(stopped))
        assert resumed.tasks == whole.tasks


@pytest.mark.parametrize(
    ("doing", "loss", "expected"),
    [
        (TrainerFn.FITTING, 1.0, ["last.ckpt"]),
        (TrainerFn.FITTING, float("nan"), []),  # of the batch at hand, whose weights are lost
        (TrainerFn.TESTING, 1.0, []),  # when the weights may be those of best.ckpt, and there is no optimiser
    ],
)
def test_sigterm_saves_only_what_training_can_go_on_with(caplog, doing, loss, expected):
    saved = []
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision: decision)
    metrics = {"train/loss": torch.tensor(loss)}
    trainer = SimpleNamespace(state=SimpleNamespace(fn=doing), strategy=strategy, callback_metrics=metrics)
    trainer.is_global_zero, trainer.save_checkpoint = True, lambda path: saved.append(path.name)
    SaveWhenTerminated(Path("last.ckpt")).on_exception(trainer, None, SIGTERMException())
    assert saved == expected
    assert "Told to end: the weights are in last.ckpt" in caplog.text


@pytest.mark.parametrize(("told_at", "ends_at"), [(0, 1), (1, 9), (8, 9), (9, 17), (17, 19), (19, 19)])
def test_processes_agree_every_few_batches_and_before_a_validation(monkeypatch, told_at, ends_at):
    agreed, ended = [], []
    monkeypatch.setattr("torch.distributed.all_reduce", lambda told: agreed.append(bool(told)))
    callback = SaveWhenTerminated(Path())
    callback._lightnings = lambda *_: ended.append(batch)
    trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(root_device="cpu"))
    for batch in range(20):
        if batch == told_at:
            callback._note()
        trainer.is_last_batch = batch == 19
        callback.on_train_batch_end(trainer, None, {}, {}, batch)
    assert ended[0] == ends_at
    assert len(agreed) == 4  # batches 0, 8, 16 and the last


#: One of two processes: a whole run, and a stopped one, which goes on.
ONE_OF_TWO = """
import os, signal, sys
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import OmegaConf
from src.methods.dndm import DNDM
from src.runtime.resolvers import register_resolvers
from src.training import run as stages

register_resolvers()
whole, stopped = (OmegaConf.load(f"{sys.argv[1]}/{name}.yaml") for name in ("whole", "stopped"))
stages.run(whole)

def terminate(method, batch, index):
    if (os.environ["RANK"], method.current_epoch, index) == ("1", 0, 1):  # the other must stop after the same batch
        os.kill(os.getpid(), signal.SIGTERM)

DNDM.on_train_batch_start = terminate
try:
    stages.run(stopped)
except SIGTERMException:
    del DNDM.on_train_batch_start
    stages.run(stages.interrupted(stopped.paths.run_dir))
else:
    sys.exit("It did not stop.")
"""


@pytest.mark.slow
def test_two_processes_stop_after_the_same_batch_and_go_on(checked, tmp_path, two_processes):
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "+trainer.limit_train_batches=3", "workers=0")
    for name in ("whole", "stopped"):
        cfg = checked(*SMALL[:5], *two, *SMALL[7:], "epochs=1", f"paths.run_dir={tmp_path}/{name}")
        OmegaConf.save(cfg, tmp_path / f"{name}.yaml")
    two_processes(ONE_OF_TWO)
    assert load_checkpoint(tmp_path / "stopped/stages/main/last.ckpt")["global_step"] == 3
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "stopped"))
    assert one["tasks"] == other["tasks"]


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
        command = [sys.executable, "-m", "src.train", *SMALL, f"epochs={epochs}", "workers=1", *overrides]
        command += [f"paths.data_dir={quickstart.parent}", f"paths.run_dir={folder}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*command, f"hydra.run.dir={folder}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, for signals
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
            if kills == 0:  # the first time as clusters do: politely, and all processes
                os.killpg(process.pid, signal.SIGTERM)
                said = process.communicate()[0].decode()
                assert process.returncode == 128 + signal.SIGTERM, said
                assert said.count("Told to end: the weights are in") == 1
                assert "Traceback" not in said
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
