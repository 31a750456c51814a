"""A stopped run goes on elsewhere, on another machine, for longer; and with nothing else changed."""

import shutil

import pandas as pd
import pytest
from omegaconf import OmegaConf

from src.checkpoints.checkpoint_file import load_checkpoint

START = (
    *("method=bot", "backbone=efficientnet_lite0", "data=quickstart_veri", "transforms.size=32", "trainer=cpu"),
    *("workers=0", "sampler.ids=2", "sampler.images=2", "+trainer.limit_train_batches=1", "epochs=1", "name=run"),
    *("retrieval.queries=0", "validate_every=1", "hydra.run.dir=run"),
)


@pytest.fixture
def stopped(command, quickstart_veri, tmp_path):
    """A run that was stopped after its first epoch, whose data have moved since; and a function that resumes it."""
    shutil.copytree(quickstart_veri, tmp_path / "first")
    done = command("src.train", *START, "data.root=first")
    assert done.returncode == 0, done.stderr
    (tmp_path / "run/metrics.json").unlink()  # it was stopped before
    (tmp_path / "first").rename(tmp_path / "17")
    return lambda *overrides: command("src.train", "resume=run", *overrides)


def test_a_stopped_run_goes_on_with_what_may_change_and_refuses_the_rest_by_name(stopped, tmp_path):
    run = tmp_path / "run"
    hydra = {path.name: path.read_bytes() for path in (run / ".hydra").iterdir()}
    assert load_checkpoint(run / "stages/main/last.ckpt")["reid"]["config"]["data"]["root"] == f"{tmp_path}/first"

    lost = stopped()
    assert lost.returncode == 1
    assert f"{tmp_path}/first is no folder" in lost.stderr
    for override, said in (
        ("method.margin=0.5", "method.margin=0.5 is not 0.3; what may change are the roots of data, workers"),
        ("method=vehiclenet", "resume goes on with what the run was started with, and "),
        ("seed=3", "seed=3 is not 0"),
        ("+trainer.precision=bf16-mixed", None),
        ("trainer.precision=bf16-mixed", "trainer.precision=bf16-mixed is not 32-true"),
        ("+trainer.limit_train_batches=2", "trainer.limit_train_batches=2 is not 1"),
        ("stages.main.freeze=[backbone]", "stages.main.freeze"),
    ):
        if said is None:
            continue
        refused = stopped("data.root=17", override)
        assert refused.returncode == 1, override
        assert f"{said}" in refused.stderr, refused.stderr
    assert not (run / "metrics.json").exists()

    # What was said at the start may be said again.
    done = stopped(*START[:-1], "data.root=17", "workers=1", "epochs=2", "trainer=ddp", "trainer.accelerator=cpu")
    assert "1 is not" not in done.stderr
    assert done.returncode == 0, done.stderr
    last = load_checkpoint(run / "stages/main/last.ckpt")
    config = last["reid"]["config"]
    assert last["epoch"] == 1
    assert (config["data"]["root"], config["workers"]) == (f"{tmp_path}/17", 1)
    assert config["stages"]["main"]["data"]["layout"]["root"] == f"{tmp_path}/17"
    assert (config["epochs"], config["stages"]["main"]["epochs"]) == (2, 2)
    assert config["trainer"]["strategy"] == "ddp"
    logs = pd.concat(pd.read_csv(file) for file in (run / "stages/main").glob("metrics*.csv"))
    assert {0, 1} <= set(logs["epoch"])
    assert {path.name: path.read_bytes() for path in (run / ".hydra").iterdir()} == hydra

    # Now it is finished; the hint is one that helps.
    finished = stopped("epochs=3", "data.root=17")
    assert finished.returncode == 1
    assert "stages.<its first stage>.load=run/stages/main/last.ckpt" in finished.stderr.replace(f"{tmp_path}/", "")
    onwards = [override for override in START if not override.startswith("hydra")]
    done = stopped.__closure__[0].cell_contents(
        "src.train", *onwards, "data.root=17", "stages.main.load=run/stages/main/last.ckpt", "hydra.run.dir=next"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "next/metrics.json").is_file()


def test_fewer_epochs_and_more_for_a_stage_that_others_have_gone_on_from_are_refused(composed):
    from src.config.changes import change
    from src.runtime.errors import ConfigError

    two = ["paths.run_dir=x", "method=bot_mdl", "stages=mdl", "data=cityflow_vehiclex", "epochs=10"]
    saved = OmegaConf.create(OmegaConf.to_container(composed(*two), resolve=True))
    longer = saved.copy()
    with pytest.raises(ConfigError, match=r"stages\.mixed\.epochs cannot become 20, for the stage mixed is finished"):
        change(saved, two, ["epochs=20"], finished=["mixed"])
    with pytest.raises(ConfigError, match=r"stages\.real\.epochs is 40 and cannot become 20"):
        change(saved, two, ["stages.real.epochs=20"], finished=["mixed"])
    change(saved, two, ["stages.real.epochs=60"], finished=["mixed"])
    assert saved.stages.real.epochs == 60
    change(saved, two, ["logger=wandb", "data.sources.cityflow.root=/moved"], finished=["mixed"])
    assert saved.logger.wandb.project == "vehicle-reid"
    assert saved.stages.real.data.layout.root == saved.data.sources.cityflow.root == "/moved"
    assert saved.data.sources.vehiclex.root == longer.data.sources.vehiclex.root
