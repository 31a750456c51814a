"""A backbone's pretrained features, evaluated and used as a checkpoint."""

import numpy as np
import pytest
import torch

from src.embed import Embedder
from src.evaluation import evaluation_run
from src.networks import Backbone
from src.runtime.errors import ConfigError

FAST = ("untrained=true", "trainer=cpu", "workers=0", "transforms=bot", "transforms.size=32")


@pytest.fixture
def evaluate(composed):
    def run(*overrides):

        return evaluation_run.run(composed(*FAST, *overrides, config="evaluate"))

    return run


def test_features_as_they_are(evaluate, tmp_path):
    metrics = evaluate("backbone=efficientnet_lite0", "data=quickstart_veri")
    embed = Embedder(tmp_path / "run/stages/untrained/last.ckpt")
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    backbone = Backbone("tf_efficientnet_lite0", weights="package", mean=[127.0] * 3, std=[128.0] * 3).eval()
    with torch.no_grad():
        expected = backbone(torch.from_numpy(pixels).permute(2, 0, 1)[None]).mean(dim=(2, 3))
    expected = torch.nn.functional.normalize(expected).numpy()
    np.testing.assert_allclose(embed(pixels), expected, atol=1e-5)
    assert metrics.data.name == "quickstart_veri"
    with pytest.raises(ConfigError, match="already holds the results"):
        evaluate("backbone=efficientnet_lite0", "data=quickstart_veri")


def test_a_class_token(evaluate, tmp_path):
    told = ("backbone=vit_small", "backbone.name=vit_tiny_patch16_224", "backbone.weights=null", "pooling=class_token")
    evaluate(*told, "data=quickstart_veri")
    method = Embedder(tmp_path / "run/stages/untrained/last.ckpt").method
    images = torch.randint(0, 256, (2, 3, 32, 32))
    _, carried = method.backbone.features(images)
    torch.testing.assert_close(method.embed({"image": images}), carried.prefix[:, 0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data=quickstart_veri",), "untrained=true needs to know its backbone; pass backbone="),
        (("backbone=resnet50",), "untrained=true needs to know its data; pass data="),
        (("backbone=resnet50", "checkpoint=a.ckpt"), "Pass one of .* not checkpoint and untrained"),
        (("untrained=false", "checkpoint=a.ckpt"), "transforms is what the checkpoint has; remove it"),
        (("untrained=false",), "Pass one of checkpoint, checkpoints, embeddings and untrained=true, not none"),
    ],
)
def test_what_must_be_said(evaluate, overrides, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(*overrides)
