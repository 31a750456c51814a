"""Engines beside PyTorch: the same numbers, kept networks, and what happens where they are not right."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from src.checkpoints import engines
from src.checkpoints.engines import ENGINES, named
from src.embed import Embedder, engine_cache, network
from src.runtime.errors import ConfigError
from tests.tiny_backbone import TINY_BACKBONE

TINY = (*TINY_BACKBONE, "transforms.size=[48,32]")
BOT = ("method=bot", *TINY)
METHODS = [
    ("bot", ("method=bot", "retrieval.flip=true")),
    ("dfr_st", ("method=dfr_st", "method.parts.height=2", "method.parts.width=2", "transforms.size=[96,64]")),
    ("dndm", ("method=dndm", "method.structure_stages=[]", "method.awareness_stages=[4]")),
    ("dndm_released", ("method=dndm_released",)),
    ("attribute_guided", ("method=attribute_guided", "method.dimension=64")),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (11, 60, 50, 3), dtype=np.uint8)


@pytest.fixture
def converting(monkeypatch):
    """Converts for any number of images, and finds OpenVINO the fastest; returns what was converted."""
    times = []
    trace = network.trace
    monkeypatch.setattr(network, "WORTH_CONVERTING", 1)
    monkeypatch.setattr(network, "trace", lambda *args: times.append(args) or trace(*args))
    monkeypatch.setattr(network, "_in_turns", lambda networks, _: dict.fromkeys(networks, 2.0) | {"openvino": 1.0})
    return times


def kept(checkpoint):
    return sorted(file.name for file in checkpoint.parent.iterdir() if file != checkpoint)


@pytest.mark.parametrize(
    "overrides",
    [pytest.param(given, id=name, marks=() if name == "bot" else pytest.mark.slow) for name, given in METHODS],
)
def test_engines_compute_what_pytorch_computes(untrained, images, converting, overrides):
    checkpoint = untrained(*TINY, *overrides)
    domains = ["day", "night", "day", "night", "night"] * 2 + ["day"]
    expected = Embedder(checkpoint, engine="torch", batch_size=4)(images, domains)
    for engine in ENGINES:
        embed = Embedder(checkpoint, engine=engine, batch_size=4)
        found = embed(images, domains)
        assert embed.engine == named(engine) != engine
        assert found.dtype == np.float32
        assert not np.array_equal(found, expected)  # another program has computed them
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(embed(images[:1], domains[:1]), expected[:1], atol=1e-5)
    assert len(converting) == 1  # the second engine takes what the first has left
    assert Embedder(checkpoint, engine="torch").engine == "torch"


def test_auto_takes_what_was_the_fastest_and_keeps_it(untrained, images, converting, caplog):
    checkpoint = untrained(*BOT)
    expected = Embedder(checkpoint, engine="torch")(images)
    for _ in range(2):
        embed = Embedder(checkpoint)
        np.testing.assert_allclose(embed(images), expected, atol=1e-5)
        assert embed.engine == named("openvino")
    assert len(converting) == 1
    (name,) = kept(checkpoint)
    assert name.startswith("last.openvino-")
    assert name.endswith(".onnx")
    said = [record.getMessage() for record in caplog.records]
    assert any(text.startswith(f"Embeds with {named('openvino')}: largest difference to PyTorch") for text in said)
    assert sum(", 2.0 × its speed" in text for text in said) == 1


def test_auto_stays_with_pytorch_where_that_is_faster(untrained, images, converting, monkeypatch, caplog):
    checkpoint = untrained(*BOT)
    monkeypatch.setattr(network, "_in_turns", lambda networks, _: dict.fromkeys(networks, 2.0) | {"torch": 1.0})
    expected = Embedder(checkpoint, engine="torch")(images)
    for _ in range(2):
        embed = Embedder(checkpoint)
        np.testing.assert_array_equal(embed(images), expected)
        assert embed.engine == "torch"
    assert len(converting) == 1
    assert "Embeds with PyTorch: it is faster than " in caplog.text
    named_engine = Embedder(checkpoint, engine="openvino")  # who names one gets it all the same
    np.testing.assert_allclose(named_engine(images), expected, atol=1e-5)
    assert [name.split("-")[0] for name in kept(checkpoint)] == ["last.openvino", "last.torch"]
    np.testing.assert_array_equal(Embedder(checkpoint)(images), expected)


def test_few_images_are_not_worth_converting(untrained, images, monkeypatch):
    checkpoint = untrained(*BOT)
    embed = Embedder(checkpoint)
    embed(images)
    assert not kept(checkpoint)
    embed.coming = 1000
    embed(images)
    assert kept(checkpoint)
    monkeypatch.setattr(network, "trace", None)
    single = Embedder(checkpoint)
    single(images[0])
    assert single.engine == embed.engine  # what is there already is taken for a single image


@pytest.mark.parametrize("change", ["weights", "views", "versions", "code"])
def test_a_kept_network_of_something_else_is_not_taken(untrained, images, converting, monkeypatch, change):
    checkpoint = untrained(*BOT)
    Embedder(checkpoint, engine="onnxruntime")(images)
    (before,) = kept(checkpoint)
    if change == "weights":
        torch.manual_seed(1)
        untrained(*BOT)
    elif change == "views":
        untrained(*BOT, "retrieval.flip=true")
    elif change == "versions":
        monkeypatch.setattr(engine_cache, "named", lambda engine: f"{engine} 0")
    else:
        monkeypatch.setattr(engine_cache, "_code_sha", lambda: "other")
    expected = Embedder(checkpoint, engine="torch")(images)
    np.testing.assert_allclose(Embedder(checkpoint, engine="onnxruntime")(images), expected, atol=1e-5)
    assert len(converting) == 2
    # What is of a checkpoint that was written over goes.
    assert (before in kept(checkpoint)) == (change in ("versions", "code"))
    assert len(kept(checkpoint)) == (2 if change in ("versions", "code") else 1)


@pytest.mark.parametrize("damage", ["other weights", "cut off"])
def test_a_kept_network_that_is_not_right_is_made_anew(untrained, images, converting, caplog, damage):
    checkpoint = untrained(*BOT)
    Embedder(checkpoint, engine="onnxruntime")(images)
    file = checkpoint.parent / kept(checkpoint)[0]
    whole = file.read_bytes()
    if damage == "cut off":
        file.write_bytes(whole[: len(whole) // 2])
    else:
        torch.manual_seed(1)
        Embedder(untrained(*BOT), engine="onnxruntime")(images)
        other = checkpoint.parent / kept(checkpoint)[0]
        torch.manual_seed(0)
        untrained(*BOT)
        other.rename(file)
    expected = Embedder(checkpoint, engine="torch")(images)
    np.testing.assert_allclose(Embedder(checkpoint, engine="auto")(images), expected, atol=1e-5)
    assert f"{file} is not used and deleted: " in caplog.text
    assert ("it differs from PyTorch by up to" in caplog.text) == (damage == "other weights")


def test_what_cannot_be_converted_is_embedded_by_pytorch(untrained, images, converting, monkeypatch, caplog):
    checkpoint = untrained(*BOT)

    def fail(*_):
        raise RuntimeError("no operator\nand a long list of them")

    expected = Embedder(checkpoint, engine="torch")(images)
    monkeypatch.setattr(network, "trace", fail)
    for _ in range(2):
        np.testing.assert_array_equal(Embedder(checkpoint)(images), expected)
    assert caplog.text.count("Embeds with PyTorch: the network cannot be converted (no operator).") == 2
    with pytest.raises(ConfigError, match=r"engine=openvino: the network cannot be converted \(no operator\); pass"):
        Embedder(checkpoint, engine="openvino")(images)


def test_an_engine_that_computes_something_else_is_not_taken(untrained, images, converting, monkeypatch, caplog):
    checkpoint = untrained(*BOT)
    expected = Embedder(checkpoint, engine="torch")(images)
    opened = network.open_network

    def wrong(engine, *args):
        run = opened(engine, *args)
        return (lambda *inputs: run(*inputs) * 1.01) if engine == "openvino" else run

    monkeypatch.setattr(network, "open_network", wrong)
    monkeypatch.setattr(network, "_in_turns", lambda networks, _: dict.fromkeys(networks, 2.0) | {"onnxruntime": 1.0})
    embed = Embedder(checkpoint)
    np.testing.assert_allclose(embed(images), expected, atol=1e-5)
    assert embed.engine == named("onnxruntime")
    assert f"Not used: {named('openvino')}: it differs from PyTorch by up to" in caplog.text
    with pytest.raises(ConfigError, match=r"openvino.*differs from PyTorch by up to .*, more than 0.0001"):
        Embedder(checkpoint, engine="openvino")(images)


@pytest.mark.parametrize("refused", ["beside", "both"])
def test_networks_are_kept_where_one_can_write(untrained, images, converting, monkeypatch, tmp_path, caplog, refused):
    checkpoint = untrained(*BOT)
    write = engine_cache.write_atomically

    def read_only(path, content):
        if refused == "both" or path.parent == checkpoint.parent:
            raise OSError("read-only")
        write(path, content)

    monkeypatch.setattr(engine_cache, "write_atomically", read_only)
    expected = Embedder(checkpoint, engine="torch")(images)
    for _ in range(2):
        np.testing.assert_allclose(Embedder(checkpoint, engine="openvino")(images), expected, atol=1e-5)
    assert not kept(checkpoint)
    assert len([*(tmp_path / "cache/vehicle-reid").rglob("*.onnx")]) == (refused == "beside")
    assert len(converting) == (1 if refused == "beside" else 2)
    assert ("this process alone has it" in caplog.text) == (refused == "both")


@pytest.mark.slow
def test_processes_convert_at_once(untrained, images, tmp_path):
    checkpoint = untrained(*BOT)
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy as np; from src.embed import Embedder\n"
        "embed = Embedder(sys.argv[1], engine='onnxruntime')\n"
        "np.save(sys.argv[3], embed(np.load(sys.argv[2])))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(checkpoint), *(str(tmp_path / name) for name in names)])
        for names in (("images.npy", "one.npy"), ("images.npy", "two.npy"))
    ]
    assert [process.wait(120) for process in started] == [0, 0]
    assert [name for name in kept(checkpoint) if name.endswith(".onnx")]
    assert not [name for name in kept(checkpoint) if name.startswith(".")]  # nothing half written
    expected = Embedder(checkpoint, engine="torch")(images)
    for name in ("one", "two"):
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected, atol=1e-5)


def test_engines_that_are_not_possible_are_refused(untrained, monkeypatch):
    checkpoint = untrained(*BOT)
    with pytest.raises(ValueError, match="engine is 'tensorflow', expected one of auto, torch, openvino"):
        Embedder(checkpoint, engine="tensorflow")
    with pytest.raises(ValueError, match="engine=openvino computes in 32-true, precision is bf16-mixed"):
        Embedder(checkpoint, engine="openvino", precision="bf16-mixed")
    find = engines.importlib.util.find_spec
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
    with pytest.raises(ConfigError, match=r"needs openvino: pip install 'vehicle-reid\[openvino\]'"):
        Embedder(checkpoint, engine="openvino")
    assert engines.installed(torch.device("cpu")) == ("onnxruntime",)


def test_a_gpu_takes_onnxruntime_if_its_build_knows_gpus(monkeypatch):
    gpu = torch.device("cuda", 1)
    assert engines.installed(gpu) == ()
    with pytest.raises(ConfigError, match="engine=onnxruntime on cuda:1 needs onnxruntime-gpu"):
        engines.require("onnxruntime", gpu)
    with pytest.raises(ConfigError, match="engine=openvino on cuda:1 needs a CPU"):
        engines.require("openvino", gpu)
    import onnxruntime

    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    assert engines.installed(gpu) == ("onnxruntime",)
    assert engines._providers(gpu) == [(name, {"device_id": 1}) for name in there[:2]]


def test_openvino_computes_in_single_precision(untrained, images, converting):
    """Its default on a CPU with bfloat16 is bfloat16."""
    import openvino

    checkpoint = untrained(*BOT)
    Embedder(checkpoint, engine="openvino")(images)
    (file,) = (checkpoint.parent / name for name in kept(checkpoint))
    seen = {}
    compile_model = openvino.Core.compile_model

    def compiled(self, *args):
        seen["model"] = compile_model(self, *args)
        return seen["model"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino.Core, "compile_model", compiled)
        engines.open_network("openvino", file, ["image"])
    assert seen["model"].get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert seen["model"].get_property("INFERENCE_NUM_THREADS") == torch.get_num_threads()
