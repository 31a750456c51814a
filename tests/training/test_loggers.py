"""What a run says in a log without a terminal, and what TensorBoard and MLflow get, read back from their files."""

import logging
import os
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.config.checks import check_config
from src.runtime import progress
from src.runtime.errors import ConfigError
from src.training import announcement
from src.training import run as stages
from src.training.before_training import check_run

SMALL = (
    *("backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "trainer=cpu", "eval_batch_size=200"),
    *("+trainer.limit_train_batches=2", "trainer.log_every_n_steps=1", "optim.schedule.milestones=[]"),
    *("optim.schedule.factors=[]", "sampler.ids=4", "sampler.images=2", "method=bot"),
)
TWO = (
    *SMALL,
    *("logger=[tensorboard,mlflow]", "data=quickstart", "epochs=3", "validate_every=1", "stages=pool_then_target"),
    *("data@stages.target.data=quickstart_veri", "stages.target.epochs=1", "compare_untrained=true"),
    *("stages.target.optim.schedule.milestones=[]", "stages.target.optim.schedule.factors=[]"),
)


def events(folder):
    """Scalars by name, as step → value, and what else TensorBoard found."""
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()
    scalars = {name: {event.step: event.value for event in found.Scalars(name)} for name in found.Tags()["scalars"]}
    return scalars, found


@pytest.mark.slow
def test_a_run_that_was_stopped_is_one_run_everywhere_and_never_silent(checked, tmp_path, monkeypatch, caplog):
    from mlflow.tracking import MlflowClient

    cfg = checked(*TWO, f"paths.output_dir={tmp_path}/outputs")
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(announcement, "_TIMED", 2)
    monkeypatch.setattr(progress, "PAUSE", 0.02)

    class InterruptionError(RuntimeError):
        pass

    def stop(method):
        if method.current_epoch == 1:
            raise InterruptionError

    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    with monkeypatch.context() as patched:
        patched.setattr("src.methods.bot.BoT.on_train_epoch_start", stop, raising=False)
        with pytest.raises(InterruptionError):
            stages.run(cfg)
    (before,) = client.search_runs([client.get_experiment_by_name("vehicle-reid").experiment_id])
    assert before.info.status == "FAILED"
    metrics = stages.run(stages.interrupted(str(tmp_path / "run")))
    run = tmp_path / "run"

    (tracked,) = client.search_runs([before.info.experiment_id])
    assert (tracked.info.run_id, tracked.info.status) == (before.info.run_id, "FINISHED")
    assert tracked.data.params["method/_target_"] == "src.methods.bot.BoT"
    assert tracked.data.params["resume"] == "None"  # as it was started
    first, _ = events(run / "stages" / "pool" / "tensorboard")
    second, found = events(run / "stages" / "target" / "tensorboard")
    wanted = {"train/loss", "train/total", "train/cross_entropy", "train/triplet", "val/mAP", "lr-Adam/pg1", "epoch"}
    assert wanted <= first.keys() & second.keys() & tracked.data.metrics.keys()
    assert {"test/mAP", "val/image_to_track/rank1"} <= second.keys() & tracked.data.metrics.keys()
    history = {point.step: point.value for point in client.get_metric_history(tracked.info.run_id, "train/loss")}
    assert history.keys() == first["train/loss"].keys() | second["train/loss"].keys()
    assert max(first["train/loss"]) < min(second["train/loss"])  # one axis
    for step, value in (first["train/loss"] | second["train/loss"]).items():
        assert history[step] == pytest.approx(value)
    for name, task in metrics.tasks.items():
        for measure, value in (("mAP", task.mAP), ("mINP", task.mINP), ("rank5", task.rank[5])):
            (written,) = second[f"final/{name}/{measure}"].values()
            assert written == pytest.approx(value)
            assert tracked.data.metrics[f"final/{name}/{measure}"] == value
    assert tracked.data.metrics["untrained/mAP"] == np.mean([task.mAP for task in metrics.untrained.values()])
    assert tracked.data.tags["checkpoint_sha"] == metrics.models[0].checkpoint_sha
    drawn = {path.stem for path in run.glob("figures/*.png")}
    assert {f"figures/{name}" for name in drawn} == {*found.Tags()["images"]}
    assert drawn == {Path(item.path).stem for item in client.list_artifacts(tracked.info.run_id, "figures")}

    said = [record.getMessage() for record in caplog.records]
    lines = iter(said)
    for pattern in (
        r"Weights of stage pool: tf_efficientnet_lite0 has the installed package's ImageNet weights; random: ",
        r"Stage pool, 3 epochs on quickstart: quickstart: 887 train",
        r"BoT: \d\.\d of \d\.\d million parameters are trained; 3 epochs of 2 steps of 8 images, 3 validations, on ",
        r"A step takes [\d.]+ s: the other 4 take about \d+ s, validations aside\.",
        r"Validation after epoch 1: mAP 0\.\d{3}, .*, 336 images in \d+ s, at most [\d.]+ GB\.",
        r"Epoch 1 of 3: loss [\d.]+ \(.*cross_entropy .*\), [\d.]+ images/s, about .* left, at most [\d.]+ GB\.",
        r"Stage pool, 3 epochs on quickstart",  # resumed
        r"Epoch 2 of 3: loss [\d.]+ \(.*\), [\d.]+ images/s, about",
        r"Epoch 3 of 3: 1 of 2 steps \(50%\), loss [\d.]+, [\d.]+ images/s, about .* left, at most [\d.]+ GB\.",
        r"Epoch 3 of 3: loss [\d.]+ \(.*\), [\d.]+ images/s, at most",
        r"Stage target, 1 epochs on quickstart_veri",
        r"Epoch 1 of 1: ",
        r"Test: mAP 0\.\d{3}, ",
    ):
        assert any(re.match(pattern, line) for line in lines), f"{pattern} is not where it should be in {said}"


@pytest.mark.skipif(sys.platform == "win32", reason="which has no pseudo terminals")
def test_a_terminal_gets_bars_that_the_log_does_not_break(checked, monkeypatch, caplog):
    import fcntl
    import pty
    import struct
    import termios

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(announcement, "_TIMED", 2)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    parts = []

    def read():
        try:
            while part := os.read(master, 65536):
                parts.append(part)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    cfg = checked(*SMALL, "data=quickstart_veri", "epochs=2", "validate_every=2")
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", terminal)
        patched.setattr(sys, "stderr", terminal)
        stages.train_stages(cfg, check_run(cfg))
    reader.join()
    os.close(master)
    text = b"".join(parts).decode()
    assert re.search(r"\rEpoch 0: +50%", text)
    assert "val/mAP" in text
    said = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("A step takes") for line in said)
    assert not [line for line in said if line.startswith(("Epoch", "Validation"))]


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow and sqlalchemy")])
def test_a_logger_without_its_package_is_refused_before_training(composed, monkeypatch, name, package):
    from src.config import logger_packages

    monkeypatch.setattr(logger_packages, "find_spec", lambda package: package == "alembic" or None)
    with pytest.raises(ConfigError) as error:
        check_config(composed("method=bot", f"logger=[csv,{name}]"))
    assert f"logger={name} needs the package {package}; install it with pip install 'vehicle-reid[{name}]'" in str(
        error.value
    )


@pytest.mark.parametrize("loggers", ["csv", "wandb", "tensorboard", "mlflow", "[wandb,tensorboard,mlflow]"])
def test_loggers_compose_with_each_other(composed, loggers):
    cfg = composed("method=bot", f"logger={loggers}")
    check_config(cfg)
    assert {*cfg.logger} == {"csv", *loggers.strip("[]").split(",")}
