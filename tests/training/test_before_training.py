"""What can be known before a run trains is refused before it, in any of its stages."""

import logging
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from src.config.checks import check_config
from src.evaluation import evaluation_run, measurement
from src.runtime.errors import ConfigError
from src.training import run as training
from src.training.before_training import check_run

SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "trainer=cpu", "retrieval.queries=0")
VERI = (*SMALL, "method=bot", "data=quickstart_veri", "sampler.ids=2", "sampler.images=2")
TWO = (
    *SMALL,
    *("method=vehiclenet", "data=pool", "data.sources={quickstart: {}, quickstart_veri: {}}"),
    *("data.target=quickstart_veri", "stages=pool_then_target", "data@stages.target.data=quickstart_veri"),
    *("sampler.batch_size=4", "optim.schedule.milestones=[]", "optim.schedule.factors=[]"),
)


@pytest.fixture
def refusal(checked, monkeypatch):
    """The sentence that refuses a run with these overrides, without a step of training."""

    def train(*_: object, **__: object):
        raise AssertionError("trained")

    monkeypatch.setattr("lightning.pytorch.Trainer.fit", train)

    def said(*overrides):
        with pytest.raises((ValueError, OSError)) as error:
            training.run(checked(*overrides))
        return str(error.value)

    return said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ("retrieval.steps=[time_window]",),
            "time_window needs retrieval.time_window.tau, for which its paper gives no",
        ),
        (("retrieval.steps=[query_groups]",), "query_groups needs retrieval.query_groups.theta"),
        (("retrieval.steps=[k_reciprocal,query_expansion]",), "query_expansion changes features, but a step before it"),
        (("retrieval.steps=[track_features]",), "leaves tracks in the gallery, but task 'image_to_image' ranks images"),
        (
            ("retrieval.steps=[attribute_constraint]",),
            "attribute_constraint needs retrieval.attribute_constraint.labels",
        ),
        (
            ("retrieval.steps=[camera_verification]", "retrieval.camera_verification.embeddings=nowhere"),
            "nowhere is no whole embeddings folder",
        ),
        (("sampler.ids=99",), "stages.main: A batch takes 99 identities, but the training set has 60"),
        (("sampler.ids=1", "sampler.images=1"), "stages.main: A training batch is of one image"),
        (("stages.main.freeze=[backbone.stage]",), "The stage freezes 'backbone.stage', which BoT does not have"),
        (("stages.main.load=nowhere.ckpt",), "stages.main: No checkpoint at "),
    ],
)
def test_of_a_single_stage(refusal, overrides, said):
    assert said in refusal(*VERI, *overrides)


def test_steps_that_lack_something_of_the_data(refusal, quickstart):
    day = (*SMALL, "method=bot", "data=quickstart")
    steps = "retrieval.steps=[{}]".format
    assert "spatio_temporal needs a camera_id for each test image" in refusal(*day, steps("spatio_temporal"))
    window = (steps("time_window"), "retrieval.time_window.tau=5")
    assert "time_window needs a timestamp for each test image" in refusal(*day, *window)
    assert "track_features needs the tracks of the gallery's images" in refusal(*day, steps("track_features"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("stages.target.data.root=/nowhere",), "/nowhere is no folder"),
        (("stages.target.load=nowhere.ckpt",), "stages.target: No checkpoint at "),
        (
            ("stages.target.freeze=[backbone.stage]",),
            "The stage freezes 'backbone.stage', which VehicleNet does not have",
        ),
        (("stages.target.sampler.batch_size=100000",), "stages.target: The training images fill 0 batches of 100000"),
        (("+stages.target.transforms.flip=2",), "transforms.flip is 2, expected a probability from 0 to 1"),
        (("data.sources.quickstart_veri.root=/nowhere",), "/nowhere is no folder"),
    ],
)
def test_of_a_later_stage(refusal, overrides, said):
    separate = {
        "sampler": ("stages.target.sampler={_target_: src.data.PlainSampler, _partial_: true, batch_size: 4}",),
        "transforms": ("stages.target.transforms={_target_: src.data.Transforms, size: 32}",),
    }
    group = overrides[0].split(".")[2].split("=")[0]
    assert said in refusal(
        *TWO, *separate.get(group, ()), *(o.replace("data.sources.q", "+data.sources.q") for o in overrides)
    )


def test_weights_of_another_network(refusal, untrained):
    other = untrained("method=vehiclenet", "data=quickstart_veri")
    assert "do not fit" in refusal(*VERI, f"stages.main.load={other}")


def test_best_needs_tasks(refusal, quickstart):
    said = refusal(*SMALL, "method=bot", "data=quickstart", "data.tasks=[]", "test_checkpoint=best")
    assert said.startswith("test_checkpoint=best, but stages.main.data has no tasks to choose a checkpoint by")


def test_a_stage_that_trains_on_what_the_run_is_tested_on(refusal):
    leak = (
        *SMALL,
        *("method=vehiclenet", "data=pool", "data.sources={quickstart: {}, quickstart_veri: {use: all}}"),
        *("data.target=quickstart", "stages=pool_then_target", "data@stages.target.data=quickstart_veri"),
        *("sampler.batch_size=4", "optim.schedule.milestones=[]", "optim.schedule.factors=[]"),
    )
    said = refusal(*leak)
    assert said.startswith("stages.pool trains on ")
    assert "of the images that stages.target is tested on" in said


def test_random_weights_are_said_loudly_at_the_start(checked, caplog):
    caplog.set_level(logging.INFO)
    check_run(checked(*VERI, "backbone=resnet50_ibn_a", "backbone.name=resnet18"))
    (loud,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "RANDOM in the whole network" in loud.message
    caplog.clear()
    check_run(checked(*VERI))
    assert "tf_efficientnet_lite0 has the installed package's ImageNet weights" in caplog.text
    assert "RANDOM" not in caplog.text


def test_debugging_shortens_every_stage_and_rates_are_scaled_in_every_stage(checked):
    scaled = ("optim.scale_lr=linear", "optim.reference_batch=64")
    for stages in (
        ("data=cityflow_vehiclex", "stages=mdl_mined"),
        ("data=cityflow_vehiclex", "stages=mdl_mined_released"),
    ):
        cfg = checked("method=bot_mdl", *stages, "debug=one_batch", *scaled)
        assert [stage.epochs for stage in cfg.stages.values()] == [1, 1, 1]
        assert {stage.optim.scale_lr for stage in cfg.stages.values()} == {"linear"}
        assert {stage.optim.reference_batch for stage in cfg.stages.values()} == {64}
    cfg = checked(*TWO, "debug=overfit", *scaled)
    assert [stage.epochs for stage in cfg.stages.values()] == [20, 12]
    assert {stage.optim.scale_lr for stage in cfg.stages.values()} == {"linear"}


def test_a_training_measures_with_its_metric_and_needs_no_logger(composed, tmp_path):
    distances = {}

    def keep(name):
        def lists(results, *_: object):
            distances[name] = results["image_to_image"].trials[0].distances
            return {}

        return lists

    with pytest.MonkeyPatch.context() as patched:
        for name in ("train", "evaluate"):
            patched.setattr(measurement, "choose_rank_lists", keep(name))
            run = tmp_path / name
            if name == "train":
                cfg = composed(*VERI, "debug=one_batch", "~logger", "retrieval.metric=cosine", f"paths.run_dir={run}")
                check_config(cfg)
                training.run(cfg)
            else:
                embeddings = f"embeddings={tmp_path}/train/embeddings"
                same = (embeddings, "retrieval.metric=cosine", f"paths.run_dir={run}")
                evaluation_run.run(composed(*same, config="evaluate"))
    assert not (tmp_path / "train/stages/main/metrics.csv").exists()
    np.testing.assert_allclose(distances["train"], distances["evaluate"], atol=1e-5)
    assert distances["train"].max() <= 2


def test_a_single_set_of_few_images_is_checked_too(refusal, tmp_path):
    """The issue's own small input."""
    folder = tmp_path / "D"
    folder.mkdir()
    rows = []
    rng = np.random.default_rng(0)
    for number in range(28):
        vehicle, place = divmod(number, 4)
        split = "train" if vehicle < 4 else "query" if place == 0 else "gallery"
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (48, 48, 3), dtype=np.uint8))
        rows.append((f"{number}.png", vehicle, split, place))
    pd.DataFrame(rows, columns=["path", "vehicle_id", "split", "camera_id"]).to_csv(folder / "table.csv", index=False)
    small = (*SMALL, "method=bot", "data=csv", f"data.root={folder}", "sampler.ids=2", "sampler.images=2")
    assert "time_window needs a timestamp" in refusal(
        *small, "retrieval.steps=[time_window]", "retrieval.time_window.tau=1"
    )
    shutil.rmtree(folder)
    assert "is no folder" in refusal(*small)
    assert torch.is_grad_enabled()


def test_a_loaded_stage_must_not_lack_its_parts_to_freeze(checked, untrained):
    path = untrained("method=bot", "data=quickstart_veri")
    check_run(checked(*VERI, f"stages.main.load={path}", "stages.main.freeze=[backbone.stem]"))
    with pytest.raises(ConfigError, match="No checkpoint at"):
        check_run(checked(*VERI, f"stages.main.load={path}x"))
