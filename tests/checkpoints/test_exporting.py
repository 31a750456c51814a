"""Exported networks."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from src.checkpoints import exporting
from src.checkpoints.engines import ENGINES, open_network
from src.checkpoints.exportable import Exportable, as_onnx, random_input, trace
from src.embed import Embedder
from src.methods.bot import BoT
from src.methods.transreid import TransReID
from src.networks import Backbone
from src.runtime.errors import ConfigError
from tests.tiny_backbone import TINY_BACKBONE

TINY = (*TINY_BACKBONE, "transforms.size=[96,64]")
METHODS = [
    ("bot", ()),
    ("vehiclenet", ("retrieval.flip=true",)),
    ("dfr_st", ("method.parts.height=2", "method.parts.width=2")),
    # Its window has many neighbours, which exporters take a minute to go through.
    ("dndm", ("method.structure_stages=[4]", "method.window=3", "method.awareness_stages=[1,4]")),
    ("dndm_own", ("method=dndm", "method.structure_stages=[]", "method.awareness_at_test=own")),
    (
        "dndm_baseline",
        ("method=dndm", "method.glare=false", "method.structure_stages=[]", "method.awareness_stages=[]"),
    ),
    ("dndm_released", ()),
]


@pytest.fixture
def exported(composed, untrained, tmp_path):
    def run(method, *overrides, **options):
        choice = () if any(text.startswith("method=") for text in overrides) else (f"method={method}",)
        checkpoint = untrained(*TINY, *choice, *overrides)
        given = {"out": tmp_path / "out/car", "format": "[onnx,torchscript,torch_export]", "repeats": 1, **options}
        said = exporting.run(
            composed(f"checkpoint={checkpoint}", *(f"{name}={value}" for name, value in given.items()), config="export")
        )
        return Embedder(checkpoint), tmp_path / "out", said

    return run


@pytest.mark.parametrize(
    ("method", "overrides"),
    [pytest.param(*choice, id=choice[0], marks=() if choice[0] == "bot" else pytest.mark.slow) for choice in METHODS],
)
def test_files_alone_compute_the_embeddings(exported, method, overrides):
    """What the JSON file describes, fed to what lies beside it, gives what the embedder gives."""
    embed, folder, _ = exported(method, *overrides)
    said = json.loads((folder / "car.json").read_text())
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (7, 96, 64, 3), dtype=np.uint8)
    domains = ["day", "night", "night", "day", "night", "day", "night"]
    expected = embed(images, domains)
    (batch,) = embed._batches(
        [(i, image, "", domain) for i, (image, domain) in enumerate(zip(images, domains, strict=True))]
    )
    fed = [batch[entry["name"]] for entry in said["inputs"]]
    for entry, tensor in zip(said["inputs"], fed, strict=True):
        assert entry["shape"] == ["batch", *tensor.shape[1:]]
        assert f"torch.{entry['dtype']}" == str(tensor.dtype)
    session = onnxruntime.InferenceSession(folder / "car.onnx")
    assert [entry.name for entry in session.get_inputs()] == [entry["name"] for entry in said["inputs"]]
    (onnx,) = session.run(
        None, {entry["name"]: tensor.numpy() for entry, tensor in zip(said["inputs"], fed, strict=True)}
    )
    with torch.no_grad():
        script = torch.jit.load(folder / "car.pt")(*fed).numpy()
        program = torch.export.load(folder / "car.pt2").module()(*fed).numpy()
    for found in (onnx, script, program):
        assert found.shape == (7, said["output"]["shape"][1])
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(said["inputs"]) == (3 if method in ("dndm", "dndm_own", "dndm_released") else 1)


def test_sizes_times_and_differences_are_told(exported, capsys):
    _, folder, said = exported("bot", batches="[1,3]", format="torchscript", out="${paths.run_dir}/../out/car.pt")
    assert sorted(file.name for file in folder.iterdir()) == ["car.json", "car.pt"]
    assert set(said["formats"]) == {"PyTorch", "torchscript"}
    row = said["formats"]["torchscript"]
    assert row["max_difference"] < 1e-6
    assert row["ms_per_image"].keys() == {"1", "3"}
    assert "torchscript" in capsys.readouterr().out


@pytest.mark.parametrize("differences", [(0, 0.01, 0), (0, 0, float("nan"))])
def test_a_network_that_computes_something_else_is_not_kept(exported, tmp_path, monkeypatch, differences):
    found = iter(differences)
    monkeypatch.setattr(exporting, "_difference", lambda *_: next(found))
    with pytest.raises(ValueError, match="torch_export network differs from PyTorch by up to"):
        exported("bot", format="torch_export")
    assert not list((tmp_path / "out").iterdir())


def test_wrong_formats_are_refused(exported, monkeypatch):
    with pytest.raises(ConfigError, match="format is 'tflite', expected some of onnx"):
        exported("bot", format="tflite")
    find = exporting.importlib.util.find_spec
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(ConfigError, match=r"needs onnx: pip install 'vehicle-reid\[export\]'"):
        exported("bot", format="onnx")


@pytest.mark.parametrize("method", ["bot", "transreid"])
def test_transformers_export_for_any_batch(method):
    backbone = Backbone("vit_tiny_patch16_224", image_size=32, patch_stride=8)
    made = (
        BoT(backbone, 3, pooling="class_token")
        if method == "bot"
        else TransReID(backbone, 3, {"camera": ["a 1", "a 2"]})
    )
    network = Exportable(made).eval()
    assert made.inputs == (("image",) if method == "bot" else ("image", "camera"))
    inputs = [random_input(name, 5, (32, 32)) for name in made.inputs]
    with torch.no_grad():
        torch.testing.assert_close(trace(network, (32, 32)).module()(*inputs), network(*inputs))


def test_an_input_may_be_called_like_an_operation(tmp_path):
    """Views of a tensor are called `view` in a graph, as the view of a vehicle is."""
    backbone = Backbone("vit_tiny_patch16_224", image_size=32, patch_stride=8)
    made = TransReID(backbone, 3, {"view": ["front", "rear"]}).eval()
    (tmp_path / "car.onnx").write_bytes(as_onnx(trace(Exportable(made), (32, 32)), made.inputs))
    inputs = [random_input(name, 3, (32, 32)) for name in made.inputs]
    with torch.no_grad():
        expected = Exportable(made)(*inputs)
    for engine in ENGINES:
        found = open_network(engine, tmp_path / "car.onnx", made.inputs)(*inputs)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
