"""What Weights & Biases gets, read back from the file that an offline run leaves."""

import json
import struct
import sys

import numpy as np
import pytest
import torch
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from src import evaluate
from src.checkpoints.checkpoint_file import load_checkpoint
from src.data.layouts import VeRi776
from src.evaluation.metrics_file import read_metrics
from src.retrieval import DataVersion, Embeddings, EmbeddingsMeta, write_embeddings
from src.training import run as stages

TWO = (
    *("backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "trainer=cpu", "logger=wandb"),
    "logger.wandb.log_model=true",
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


def summary(path):
    """The last value of each entry of the summary."""
    items = [item for record in records(path) for item in record.summary.update]
    return {".".join([item.key, *item.nested_key]).strip("."): json.loads(item.value_json) for item in items}


@pytest.fixture(autouse=True)
def _artifacts_here(tmp_path, monkeypatch):
    """Tables and artifacts wait for `wandb sync` in this test's folder, not in the home folder."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))


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
    assert wandb.run is None  # finished, so that the next run of a sweep starts its own
    wandb.teardown()  # what the end of the process does: all is in the file
    (first,) = run.glob("stages/*/wandb/offline-run-*/run-*.wandb")
    before = steps(first)
    assert before[0] == 0

    metrics = stages.run(stages.interrupted(str(run)))
    assert wandb.run is None
    wandb.teardown()
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

    # The first one ended as failed, the second as what it was, with what was measured.
    assert [
        [record.exit.exit_code for record in records(path) if record.HasField("exit")] for path in (first, second)
    ] == [
        [1],
        [0],
    ]
    found = summary(second)
    for name, task in metrics.tasks.items():
        for measure, value in (("mAP", task.mAP), ("mINP", task.mINP), ("rank5", task.rank[5])):
            assert found[f"final/{name}/{measure}"] == value
    assert found["final/mAP"] == sum(task.mAP for task in metrics.tasks.values()) / 2
    assert found["checkpoint_sha"] == metrics.models[0].checkpoint_sha
    for table in ("rank_lists/image_to_image", "cameras/image_to_image", "groups"):
        assert found[f"{table}._type"] == "table-file"
    assert found["figures/rank_list_image_to_image._type"] == "image-file"
    artifacts = [record.artifact for record in records(second) if record.HasField("artifact")]
    assert {"best.ckpt", "last.ckpt"} == {
        json.loads(artifact.metadata)["original_filename"] for artifact in artifacts if artifact.type == "model"
    }
    assert any(record.HasField("stats") for record in records(second))  # memory, CPU, GPU, network


@pytest.mark.slow
def test_jobs_of_a_sweep_are_runs_of_one_group(quickstart_veri, tmp_path, monkeypatch):
    table = VeRi776(root=str(quickstart_veri), name="cars").read()
    rows = np.flatnonzero(table["split"] != "train")
    features = torch.nn.functional.normalize(torch.randn(len(rows), 16))
    meta = EmbeddingsMeta(
        checkpoint="main/last.ckpt",
        checkpoint_sha="0" * 64,
        data=DataVersion("cars", "f"),
        evaluation={"names": ["image_to_image"], "ap": "standard", "trials": 1, "seed": 0},
    )
    write_embeddings(tmp_path / "embeddings", Embeddings(features, rows, table, None, meta))
    command = ["evaluate", "--multirun", "sweep=omega", "retrieval.spatio_temporal.omega=0,0.2", "logger=wandb"]
    command += [
        f"embeddings={tmp_path}/embeddings",
        "retrieval.queries=1",
        "retrieval.spatio_temporal.parts=[temporal]",
        f"hydra.sweep.dir={tmp_path}/the_sweep",
    ]
    monkeypatch.setattr(sys, "argv", [*command, "hydra/job_logging=none", "hydra/hydra_logging=none"])
    evaluate.main()
    wandb.teardown()
    ids = []
    for job, omega in enumerate((0, 0.2)):
        folder = tmp_path / "the_sweep" / str(job)
        (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
        (run,) = (record.run for record in records(path) if record.HasField("run"))
        assert (run.run_group, list(run.tags), run.display_name) == ("the_sweep", ["omega"], "evaluate")
        ids.append(run.run_id)
        config = {item.key: json.loads(item.value_json) for record in records(path) for item in record.config.update}
        assert config["retrieval"]["spatio_temporal"]["omega"] == omega
        measured = read_metrics(folder)
        found = summary(path)
        assert found["final/mAP"] == measured.tasks["image_to_image"].mAP
        assert found["before_postprocessing/mAP"] == measured.before_postprocessing["image_to_image"].mAP
        assert found["rank_lists/image_to_image.nrows"] == 1
    assert len(set(ids)) == 2
