"""What each part of a network starts from is said, and random weights loudly."""

import re

import pytest
from omegaconf import OmegaConf

from src.config.initial_weights import initial_weights
from src.runtime.command import CONF_DIR


def said(cfg):
    return [*initial_weights(cfg)]


@pytest.mark.parametrize(
    ("overrides", "expected", "warns"),
    [
        ([], "resnet50 has timm's pretrained ones; random: everything behind the backbone", False),
        (["backbone=efficientnet_lite0"], "tf_efficientnet_lite0 has the installed package's ImageNet weights", False),
        (["backbone.weights=/w/r50.pth"], "resnet50 has those of /w/r50.pth", False),
        (["backbone.non_local=[0,2,3,0]"], "random: non-local blocks and everything behind the backbone", False),
        (["backbone=resnet50_ibn_a"], "RANDOM in the whole network.*resnet50 \\(ibn=a\\) is not pretrained", True),
        (["stages.main.load=/c/last.ckpt"], "those of /c/last.ckpt; random: classifier", False),
    ],
)
def test_the_weights_of_a_single_stage(composed, overrides, expected, warns):
    ((sentence, warning),) = said(composed("method=bot", *overrides))

    assert re.search(expected, sentence)
    assert warning is warns


def test_the_weights_of_each_stage(composed):
    stages = ("method=bot_mdl", "stages=mdl_mined_released", "data=cityflow_vehiclex", "backbone=resnet101")
    sentences = [sentence for sentence, _ in said(composed(*stages))]
    assert [sentence.partition(":")[0] for sentence in sentences] == [
        "Weights of stage mixed",
        "Weights of stage real",
        "Weights of stage mined",
    ]
    assert "timm's" in sentences[0]
    assert "those of the stage before; random: classifier" in sentences[1]
    assert "timm's" in sentences[2]  # load: null
    later = said(composed(*stages, "start=real", "stages.real.load=/c/last.ckpt"))
    assert [warning for _, warning in later] == [False, False]
    assert "those of /c/last.ckpt" in later[0][0]


def test_weights_of_ibn_networks_have_a_key_of_their_own_which_others_of_a_sweep_do_not_take(composed):
    given = "paths.weights.resnet50_ibn_a=/w/ibn.pth"

    names = OmegaConf.load(f"{CONF_DIR}/sweep/extractors.yaml").hydra.sweeper.params.experiment.split(",")
    taken = {name: composed(f"experiment={name}", given).backbone for name in names}
    assert {name for name, backbone in taken.items() if backbone.weights == "/w/ibn.pth"} == {
        name for name, backbone in taken.items() if backbone.ibn
    }
    assert len([name for name, backbone in taken.items() if backbone.ibn]) == 2
    assert composed("backbone=resnet101_ibn_a", "method=bot", given).backbone.weights is None
