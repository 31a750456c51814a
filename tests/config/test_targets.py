"""Classes of other packages: the user's own are free, those that a checkpoint names must be trusted."""

import sys

import pytest
import torch
from omegaconf import OmegaConf

from src.checkpoints.restore import restore_method
from src.config.checks import check_config
from src.config.targets import check_stored_targets
from src.evaluation import evaluation_run
from src.runtime.errors import ConfigError
from src.training import run as training

SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "trainer=cpu", "debug=one_batch")

METHOD = """
from torch import nn
from my_pkg.losses import weighted
from src.methods.base import ReIDMethod


class MyMethod(ReIDMethod):
    def __init__(self, backbone, num_classes: int, weight: float = 1.0):
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.channels[-1], num_classes)
        self.weight = weight

    def embed(self, batch):
        return self.backbone(batch["image"]).mean(dim=(2, 3))

    def losses(self, batch):
        return {"cross_entropy": weighted(self.classifier(self.embed(batch)), batch["label"], self.weight)}
"""
LOSSES = """
from torch.nn import functional as F


def weighted(logits, labels, weight):
    return weight * F.cross_entropy(logits, labels)
"""
LAYOUT = """
from dataclasses import dataclass
from typing import ClassVar

from src.data.layouts import VeRi776


@dataclass(frozen=True)
class MyCars:
    root: str
    name: str
    provides: ClassVar[frozenset[str]] = frozenset({"camera_id"})

    def read(self):
        return VeRi776(root=self.root, name=self.name).read()
"""


@pytest.fixture
def my_pkg(tmp_path, monkeypatch):
    """A package of a user's own, on the path, with a method, a loss and a data set."""
    package = tmp_path / "own" / "my_pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from my_pkg.method import MyMethod\n")
    (package / "method.py").write_text(METHOD)
    (package / "losses.py").write_text(LOSSES)
    (package / "cars.py").write_text(LAYOUT)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delenv("REID_TRUST", raising=False)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_pkg"]:
        del sys.modules[name]


def test_a_method_of_ones_own_is_trained_and_evaluated_once_its_package_is_trusted(
    checked, composed, my_pkg, tmp_path, monkeypatch, quickstart_veri
):
    own = composed("method=bot", "data=quickstart_veri")
    config = tmp_path / "conf" / "method"
    config.mkdir(parents=True)
    cfg = composed(*SMALL, "method=bot", "data=quickstart_veri")
    cfg.method = {"_target_": "my_pkg.MyMethod", "weight": 0.5}
    cfg.data.layout = {"_target_": "my_pkg.cars.MyCars", "name": own.data.name, "root": own.data.root}
    check_config(cfg)
    trained = training.run(cfg)
    assert list(trained.tasks) == ["image_to_image", "image_to_track"]

    checkpoint = tmp_path / "run/stages/main/last.ckpt"
    evaluate = (f"checkpoint={checkpoint}", "workers=0", "trainer=cpu", f"paths.run_dir={tmp_path}/again")
    refused = (
        r"last\.ckpt names 'my_pkg\.MyMethod', a class of my_pkg, .* set the environment variable REID_TRUST=my_pkg"
    )
    with pytest.raises(ConfigError, match=refused):
        evaluation_run.run(composed(*evaluate, config="evaluate"))
    monkeypatch.setenv("REID_TRUST", "other, my_pkg")
    found = evaluation_run.run(composed(*evaluate, config="evaluate"))
    assert found.tasks == trained.tasks
    assert type(restore_method(checkpoint)).__name__ == "MyMethod"
    (my_pkg.parent.parent / "run/metrics.json").unlink()
    assert training.interrupted(str(tmp_path / "run")).method._target_ == "my_pkg.MyMethod"
    monkeypatch.delenv("REID_TRUST")
    with pytest.raises(ConfigError, match="REID_TRUST=my_pkg"):
        training.interrupted(str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("my_pkg.Nothing", r"method\._target_ is 'my_pkg\.Nothing', which cannot be imported .*PYTHONPATH"),
        ("your_pkg.Method", r"method\._target_ is 'your_pkg\.Method', which cannot be imported \(.*your_pkg.*\)"),
        ("my_pkg.losses.weighted", r"method\._target_ is 'my_pkg\.losses\.weighted', expected a class derived from Re"),
    ],
)
def test_what_cannot_be_a_method_is_refused(composed, my_pkg, target, said):
    cfg = composed("method=bot")
    cfg.method = {"_target_": target}
    with pytest.raises(ConfigError, match=said):
        check_config(cfg)


def test_keys_and_values_of_ones_own_classes_are_checked(composed, my_pkg):
    for extra, said in (({"wait": 1}, "Unknown key 'method.wait'.*'weight'"), ({"weight": "x"}, "expected a number")):
        cfg = composed("method=bot")
        cfg.method = {"_target_": "my_pkg.MyMethod", **extra}
        with pytest.raises(ConfigError, match=said):
            check_config(cfg)


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "torch.load", "src.runtime.launch.relaunch", "my_pkg.MyMethod"),
        "src.data.table.pd.read_pickle",  # a way out of a trusted package
        "src.methods.base.torch.load",
        "my_pkg_of_somebody_else.X",
    ],
)
def test_what_a_checkpoint_names_must_be_trusted(my_pkg, target, monkeypatch):
    cfg = OmegaConf.create({"method": {"_target_": target}})
    with pytest.raises(ConfigError, match=r"x\.ckpt names .* REID_TRUST="):
        check_stored_targets(cfg, "x.ckpt")
    assert "my_pkg" not in sys.modules  # nothing of it was run
    monkeypatch.setenv("REID_TRUST", "my_pkg")
    if target == "my_pkg.MyMethod":
        check_stored_targets(cfg, "x.ckpt")
    else:
        with pytest.raises(ConfigError, match="REID_TRUST=my_pkg,"):
            check_stored_targets(cfg, "x.ckpt")


def test_a_changed_checkpoint_cannot_call_anything(untrained):
    path = untrained("method=bot", "data=quickstart_veri")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["reid"]["config"]["method"] = {"_target_": "os.system", "command": f"touch {path.parent}/called"}
    torch.save(checkpoint, path)
    with pytest.raises(ConfigError, match=r"names 'os\.system', a class of os"):
        restore_method(path)
    assert not (path.parent / "called").exists()
