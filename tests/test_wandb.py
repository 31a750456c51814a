"""What Weights & Biases gets, read back from the file that an offline run leaves."""

import struct
import sys

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from src import stages
from src.checkpoint import load_checkpoint

TWO = (
    *("backbone=efficientnet_lite0", "transforms.size=64", "workers=0", "trainer=cpu", "logger=wandb"),
    *("method=bot", "data=quickstart", "stages=pool_then_target", "data@stages.target.data=quickstart_veri"),
    *("+trainer.limit_train_batches=2", "trainer.log_every_n_steps=1", "epochs=2", "stages.target.epochs=1"),
    *("stages.target.optim.schedule.milestones=[]", "stages.target.optim.schedule.factors=[]"),
    *("optim.schedule.milestones=[]", "optim.schedule.factors=[]", "sampler.ids=4", "sampler.images=2"),
)


def records(path):
    """The records of a `.wandb` file: LevelDB's log format behind seven bytes, blocks of 32 KiB."""
    content, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def steps(path):
    """The step of each entry of the history."""
    items = [item for record in records(path) for item in record.history.item]
    return [int(item.value_json) for item in items if "trainer/global_step" in (item.key, *item.nested_key)]


@pytest.mark.slow
def test_stages_are_one_run_with_one_step_axis_and_a_resumed_run_goes_on_in_it(checked, tmp_path, monkeypatch):
    cfg = checked(*TWO)

    class InterruptionError(RuntimeError):
        pass

    def stop(method):
        if method.current_epoch == 1:
            raise InterruptionError

    with monkeypatch.context() as patched:
        patched.setattr("src.methods.bot.BoT.on_train_epoch_start", stop, raising=False)
        with pytest.raises(InterruptionError):
            stages.run(cfg)
    run = tmp_path / "run"
    sys.modules["wandb"].finish()  # what the end of a killed process does
    (first,) = run.glob("stages/*/wandb/offline-run-*/run-*.wandb")
    before = steps(first)
    assert before[0] == 0

    stages.run(stages.interrupted(str(run)))
    assert sys.modules["wandb"].run is None  # finished, so that the next run of a sweep starts its own
    files = set(run.glob("stages/*/wandb/offline-run-*/run-*.wandb"))
    (second,) = files - {first}
    assert first.name == second.name  # the id
    axis = steps(second)
    assert before + axis == sorted(before + axis)
    assert {2, 3, 4, 5} <= set(axis)  # epoch 1 of the first stage, then the second stage
    assert (
        first.stem.removeprefix("run-")
        == load_checkpoint(run / "stages/target/last.ckpt")["reid"]["config"]["logger"]["wandb"]["id"]
    )
