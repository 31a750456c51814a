"""Runs of more than one stage: what is taken over, what is frozen, where a run starts and goes on."""

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from src.checkpoints.checkpoint_file import load_checkpoint
from src.data import DataError
from src.evaluation.metrics_file import read_metrics
from src.methods.bot import BoT
from src.networks import Backbone
from src.runtime.errors import ConfigError
from src.training import run as stages

SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "trainer=cpu", "logger=csv")
TWO = (
    *SMALL,
    "method=vehiclenet",
    "data=pool",
    "data.sources={quickstart: {}, quickstart_veri: {}}",
    "data.target=quickstart_veri",
    "stages=pool_then_target",
    "data@stages.target.data=quickstart_veri",
    "+trainer.limit_train_batches=2",
    "epochs=1",
    "stages.target.epochs=1",
    "stages.target.optim.schedule.milestones=[]",
    "stages.target.optim.schedule.factors=[]",
    "optim.schedule.milestones=[]",
    "optim.schedule.factors=[]",
    "optim.optimizer.lr=0.001",
    "sampler.batch_size=8",
    "validate_every=1",
)


def weights(path):
    return load_checkpoint(path)["state_dict"]


def test_the_second_stage_takes_over_everything_but_the_classifier_and_counts_on(checked, tmp_path):
    cfg = checked(*TWO, "stages.target.freeze=[backbone.stem,backbone.stages.0]")
    metrics = stages.run(cfg)
    run = tmp_path / "run"
    assert metrics.checkpoint == "target/last.ckpt"
    assert metrics.steps == 4
    first, second = (weights(run / f"stages/{name}/last.ckpt") for name in ("pool", "target"))
    assert len(first["classifier.weight"]) == 110 + 60
    assert len(second["classifier.weight"]) == 60
    frozen = [name for name in first if name.startswith(("backbone.stem.", "backbone.stages.0."))]
    assert any(name.endswith("running_mean") for name in frozen)
    for name in frozen:  # the statistics of the normalisations too
        assert torch.equal(first[name], second[name]), name
    moved = [name for name in first if name.startswith("backbone.stages.3.") and "weight" in name]
    assert any(not torch.equal(first[name], second[name]) for name in moved)
    pool, target = (pd.read_csv(run / f"stages/{name}/metrics.csv")["step"] for name in ("pool", "target"))
    assert pool.max() < target.min()
    assert (run / "figures/curves_pool.png").is_file()
    assert (run / "figures/curves_target.png").is_file()
    assert load_checkpoint(run / "stages/target/last.ckpt")["reid"]["labels"][0] == ["quickstart_veri", 1]


def test_a_later_stage_without_an_answer_is_refused_before_the_first_is_trained(checked, tmp_path):
    """All positives are of the query's own camera, so that every number would be NaN."""
    rows = [f"{number}.jpg,{number % 4},{'train' if number % 4 < 2 else 'test'},3" for number in range(12)]
    (tmp_path / "table.csv").write_text("\n".join(["path,vehicle_id,split,camera_id", *rows]))
    for number in range(12):
        (tmp_path / f"{number}.jpg").touch()
    target = [one for one in TWO if "stages.target.data" not in one]
    cfg = checked(*target, "data@stages.target.data=csv", f"stages.target.data.root={tmp_path}")
    with pytest.raises(DataError, match=r"the rule same_camera leaves none of the 6 queries .* \(camera_id\)"):
        stages.run(cfg)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_run_can_start_at_a_later_stage_from_a_checkpoint(checked, tmp_path):
    stages.run(checked(*TWO))
    pool = tmp_path / "run/stages/pool/last.ckpt"
    later = checked(*TWO, "start=target", f"stages.target.load={pool}", f"paths.run_dir={tmp_path}/later")
    stages.run(later)
    assert not (tmp_path / "later/stages/pool").exists()
    one, other = (weights(tmp_path / f"{name}/stages/target/last.ckpt") for name in ("run", "later"))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=name)
    with pytest.raises(ConfigError, match=r"pass stages\.target\.load=<checkpoint>"):
        checked(*TWO, "start=target", f"paths.run_dir={tmp_path}/nothing")
    with pytest.raises(ConfigError, match="start is 'third', expected one of the stages pool, target"):
        checked(*TWO, "start=third", f"paths.run_dir={tmp_path}/third")


@pytest.mark.parametrize("stopped_in", ["pool", "target"])
def test_a_stopped_run_goes_on_and_ends_with_the_same_weights(checked, tmp_path, stopped_in, monkeypatch):
    two = (*TWO, "epochs=2", "stages.target.epochs=2")
    whole = stages.run(checked(*two, f"paths.run_dir={tmp_path}/whole"))

    class InterruptionError(RuntimeError):
        pass

    def stop(method):
        if method.current_epoch == 1 and method.provenance["stage"] == stopped_in:
            raise InterruptionError

    stopped = checked(*two, f"paths.run_dir={tmp_path}/stopped")
    with monkeypatch.context() as patched:
        patched.setattr("src.methods.vehiclenet.VehicleNet.on_train_epoch_start", stop, raising=False)
        with pytest.raises(InterruptionError):
            stages.run(stopped)
    resumed = stages.run(stages.interrupted(f"{tmp_path}/stopped"))

    for name in ("pool", "target"):
        one, other = (weights(tmp_path / f"{run}/stages/{name}/last.ckpt") for run in ("whole", "stopped"))
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], msg=f"{name} {key}")
    assert resumed.steps == whole.steps
    assert read_metrics(tmp_path / "stopped").checkpoint == "target/last.ckpt"
    parts = sorted(path.name for path in (tmp_path / f"stopped/stages/{stopped_in}").glob("metrics*.csv"))
    assert parts == ["metrics.csv", "metrics_1.csv"]


def test_a_run_without_a_checkpoint_cannot_go_on(tmp_path):
    with pytest.raises(ConfigError, match=r"has no stages/<stage>/last\.ckpt yet"):
        stages.interrupted(str(tmp_path))


def bot(num_classes=3, name="resnet18"):
    return BoT(Backbone(name), num_classes)


def test_weights_that_do_not_fit_are_refused_with_what_differs():
    method = bot()
    fitting = bot(5).state_dict()
    method.take_over(fitting, ["classifier"], "x.ckpt")
    assert torch.equal(
        method.backbone.stages[0].layer1[0].conv1.weight, fitting["backbone.stages.0.layer1.0.conv1.weight"]
    )
    assert method.neck.classifier.weight.shape == (3, 512)
    with pytest.raises(
        ValueError,
        match=r"x\.ckpt do not fit: 1 of another shape \(neck\.classifier\.weight \(5, 512\), here \(3, 512\)\); .*"
        r"`replace` .* \(now nothing\), or set its `allow_partial`",
    ):
        method.take_over(fitting, [], "x.ckpt")
    with pytest.raises(ValueError, match=r"198 unknown here .*27 of another shape"):
        method.take_over(bot(name="resnet50").state_dict(), ["classifier"], "x.ckpt")


def test_what_fits_of_other_weights_is_taken_over_on_request(caplog):
    method, other = bot(), bot(5)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    given = other.state_dict()
    given["head.weight"] = given.pop("neck.bn.weight") + 1
    method.take_over(given, [], "x.ckpt", allow_partial=True)
    left_out = {"neck.bn.weight", "neck.classifier.weight"}
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name] if name in left_out else given[name]), name
    assert (
        f"Of x.ckpt {len(before) - 2} of {len(before)} weights are taken over; left out: 1 missing (neck.bn.weight); "
        "1 unknown here (head.weight); 1 of another shape (neck.classifier.weight (5, 512), here (3, 512))."
    ) in caplog.text
    strange = {f"net.{name}": value for name, value in given.items()}
    with pytest.raises(ValueError, match=r"Nothing of the weights of x\.ckpt fits: .* use the same method"):
        method.take_over(strange, [], "x.ckpt", allow_partial=True)


def test_frozen_parts_neither_learn_nor_collect_statistics():
    method = bot()
    method.freeze_parts(["backbone.stem", "backbone.stages.0"])
    method.train()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.backbone(torch.randint(0, 256, (2, 3, 64, 64)))
    after = method.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if name.startswith(("backbone.stem", "backbone.stages.0"))]
    assert not any(p.requires_grad for p in method.backbone.stem.parameters())
    assert method.backbone.stages[1].training
    with pytest.raises(
        ValueError, match=r"freezes 'backbone\.stage\.0', which BoT does not have; .*backbone\.stages\.0"
    ):
        method.freeze_parts(["backbone.stage.0"])


def test_cameras_are_told_apart_by_their_own_classifier(checked, tmp_path):
    cfg = checked(*SMALL, "method=camera_classifier", "data=quickstart_veri", "debug=one_batch")
    stages.run(cfg)
    labels = load_checkpoint(tmp_path / "run/stages/main/last.ckpt")["reid"]["labels"]
    table = pd.read_csv(tmp_path / "run/embeddings/table.csv")
    cameras = sorted(set(table["camera_id"][table["split"] == "train"]))
    assert labels == [["quickstart_veri", camera] for camera in cameras]
    with pytest.raises(ConfigError, match="CameraClassifier needs camera_id"):
        checked(*SMALL, "method=camera_classifier", "data=dn_348")
    assert OmegaConf.select(cfg, "sampler._target_") == "src.data.PlainSampler"
