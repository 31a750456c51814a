"""Exports in fewer bits."""

import json

import numpy as np
import onnx
import pytest

from src.evaluation import evaluation_run, reduced_exports
from src.runtime.errors import ConfigError
from tests.tiny_backbone import TINY_BACKBONE

TINY = (*TINY_BACKBONE, "transforms.size=32")


@pytest.fixture
def export(composed, tmp_path):
    def run(checkpoint, *overrides):
        given = (f"checkpoint={checkpoint}", f"out={tmp_path}/out/car", "batches=[2]", "repeats=1", *overrides)
        return reduced_exports.run(composed(*given, "calibration_images=16", config="export"))

    return run


def kinds(file):
    """Types of the weights of an ONNX file that are matrices or more."""
    return {onnx.TensorProto.DataType.Name(w.data_type) for w in onnx.load(file).graph.initializer if len(w.dims) > 1}


def test_fewer_bits_and_what_they_cost(export, composed, untrained, tmp_path, capsys):
    checkpoint = untrained(*TINY, "method=bot", "data=quickstart_veri")
    said = export(checkpoint, "precision=[float16,int8]", "calibrate=data")
    assert json.loads((tmp_path / "out/car.json").read_text())["precisions"] == said["precisions"]
    whole, half, eight = (said["precisions"][name] for name in ("float32", "float16", "int8"))
    assert [row["file"] for row in (whole, half, eight)] == ["car.onnx", "car.float16.onnx", "car.int8.onnx"]
    assert kinds(tmp_path / "out/car.float16.onnx") == {"FLOAT16"}
    assert "INT8" in kinds(tmp_path / "out/car.int8.onnx")
    assert whole["max_difference"] < 1e-5 < half["max_difference"] < 1e-2
    assert half["max_difference"] < eight["max_difference"] < 0.2
    assert whole["min_cosine"] >= half["min_cosine"] > eight["min_cosine"] > 0.9
    assert "car.int8.onnx" in capsys.readouterr().out
    options = ("data=quickstart_veri", "trainer=cpu", "workers=0")
    metrics = evaluation_run.run(composed(f"checkpoint={checkpoint}", *options, config="evaluate"))
    assert metrics.tasks.keys() == eight["mAP"].keys()
    for task, record in metrics.tasks.items():
        assert whole["mAP"][task] == pytest.approx(record.mAP, abs=1e-3)
        assert half["mAP"][task] == pytest.approx(record.mAP, abs=1e-2)


@pytest.mark.slow
def test_int8_of_a_method_that_tells_day_from_night(export, untrained, tmp_path):
    checkpoint = untrained(
        *TINY, "method=dndm", "method.structure_stages=[]", "method.awareness_stages=[]", "data=quickstart"
    )
    said = export(checkpoint, "precision=int8", "calibrate=data")
    assert said["precisions"]["int8"]["min_cosine"] > 0.9
    assert said["precisions"]["int8"]["mAP"].keys() == {"day_to_night", "night_to_day"}
    with pytest.raises(ConfigError, match=r"DNDM must know which images are of the night.*pass calibrate=data"):
        export(checkpoint, "precision=int8", f"calibrate={tmp_path}")


def test_a_folder_calibrates_too(export, untrained, quickstart_veri, tmp_path):
    checkpoint = untrained(*TINY, "method=bot")
    said = export(checkpoint, "precision=int8", f"calibrate={quickstart_veri / 'image_query'}")
    assert "mAP" not in said["precisions"]["int8"]
    assert np.isfinite(said["precisions"]["int8"]["max_difference"])
    (tmp_path / "few").mkdir()
    (tmp_path / "few/car.jpg").write_bytes(next((quickstart_veri / "image_query").glob("*.jpg")).read_bytes())
    with pytest.raises(ConfigError, match="few has only 1 images, too few to calibrate on"):
        export(checkpoint, "precision=int8", f"calibrate={tmp_path}/few")
    with pytest.raises(ConfigError, match="which is no folder; pass one with images, or data"):
        export(checkpoint, "precision=int8", "calibrate=nowhere")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("precision=int4",), "precision is 'int4', expected some of float32, float16, int8"),
        (("precision=int8",), "precision=int8 needs images to calibrate on; pass calibrate=<folder>"),
        (("precision=float16", "format=torchscript"), "made of the ONNX network; add onnx to format"),
    ],
)
def test_what_is_not_possible_is_refused(export, overrides, message):
    with pytest.raises(ConfigError, match=message):
        export("a.ckpt", *overrides)
