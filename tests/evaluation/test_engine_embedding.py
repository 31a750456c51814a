"""A test set embedded by an engine."""

import json
from dataclasses import replace

import numpy as np
import pytest

from src.checkpoints.engines import named
from src.data import image_path
from src.embed import Embedder, network
from src.evaluation import evaluation_run
from src.retrieval import read_embeddings
from src.runtime.errors import ConfigError
from tests.tiny_backbone import TINY_BACKBONE

TINY = (*TINY_BACKBONE, "transforms.size=32")


@pytest.fixture
def evaluate(composed, untrained, tmp_path, monkeypatch):
    """Evaluates on the small VeRi set: metrics, and the embeddings behind them."""
    monkeypatch.setattr(network, "WORTH_CONVERTING", 1)

    def run(checkpoint, name, *overrides):
        out = tmp_path / name
        options = ("data=quickstart_veri", "trainer=cpu", "workers=0", f"paths.run_dir={out}")
        evaluation_run.run(composed(f"checkpoint={checkpoint}", *options, *overrides, config="evaluate"))
        return json.loads((out / "metrics.json").read_text()), read_embeddings(out / "embeddings")

    return run


def test_engines_measure_what_pytorch_measures(evaluate, untrained):
    checkpoint = untrained(*TINY, "method=bot")
    metrics, expected = evaluate(checkpoint, "torch")
    assert metrics["engine"] == expected.meta.engine == "torch"
    for engine in ("openvino", "onnxruntime"):
        found, embeddings = evaluate(checkpoint, engine, f"engine={engine}")
        assert found["engine"] == embeddings.meta.engine == named(engine)
        assert replace(embeddings.meta, engine="torch") == expected.meta
        np.testing.assert_array_equal(embeddings.rows, expected.rows)
        np.testing.assert_allclose(embeddings.features.numpy(), expected.features.numpy(), atol=1e-5)
        for task, record in metrics["tasks"].items():
            assert found["tasks"][task]["mAP"] == pytest.approx(record["mAP"], abs=2e-3)


@pytest.mark.slow
def test_cameras_reach_the_engine(evaluate, untrained):
    backbone = ("backbone=vit_small", "backbone.name=vit_tiny_patch16_224", "backbone.weights=null")
    names = {"camera": [f"quickstart_veri {number}" for number in range(1, 4)]}
    checkpoint = untrained("method=transreid", "method.side=[camera]", *backbone, names=names)
    _, expected = evaluate(checkpoint, "torch")
    _, found = evaluate(checkpoint, "engine", "engine=openvino")
    assert {1, 2, 3} & set(expected.table["camera_id"].iloc[expected.rows])
    np.testing.assert_allclose(found.features.numpy(), expected.features.numpy(), atol=1e-5)
    without = Embedder(checkpoint, engine="torch")([image_path(expected.table, row) for row in expected.rows[:50]])
    assert np.abs(without - expected.features.numpy()[:50]).max() > 1e-3  # the cameras matter


def test_half_precision_is_pytorchs(evaluate, untrained):
    with pytest.raises(ValueError, match="engine=openvino computes in 32-true, precision is bf16-mixed"):
        evaluate(untrained(*TINY, "method=bot"), "half", "engine=openvino", "trainer.precision=bf16-mixed")


def test_an_engine_that_is_not_there_is_refused(evaluate, untrained):
    with pytest.raises((ConfigError, ValueError), match="engine"):
        evaluate(untrained(*TINY, "method=bot"), "none", "engine=tensorrt")
