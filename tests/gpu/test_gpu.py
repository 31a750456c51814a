"""What only a GPU can tell: `make test-gpu` runs these on the day there is one."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from src.methods.attribute_guided import AttributeGuided
from src.methods.attributes import AttributeClassifier
from src.methods.bot import BoT
from src.methods.dfr_st import DFRST
from src.methods.dndm import DNDM, DNDMReleased
from src.methods.transreid import TransReID
from src.methods.vehiclenet import VehicleNet
from src.networks import Backbone, StructureEnhancement
from src.networks.blocks import structure
from src.retrieval import FeatureDistance, KReciprocalDistance, evaluate, search
from src.training.host_copy import HostCopy

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
NAMES = {"colour": ["red", "white"], "type": ["sedan", "truck"]}
SIDES = {"camera": ["1", "2"], "view": ["front", "rear"]}
METHODS = {
    "bot": lambda backbone: BoT(backbone, 4),
    "dndm": lambda backbone: DNDM(backbone, 4),
    "dndm_released": lambda backbone: DNDMReleased(backbone, 4),
    "dfr_st": lambda backbone: DFRST(backbone, 4, dimension=16),
    "vehiclenet": lambda backbone: VehicleNet(backbone, 4, dimension=16),
    "attribute_guided": lambda backbone: AttributeGuided(backbone, 4, NAMES, dimension=16, attribute_dimension=8),
    "attribute_classifier": lambda backbone: AttributeClassifier(backbone, 4, NAMES, dimension=16),
    "transreid": lambda _: TransReID(Backbone("vit_tiny_patch16_224", image_size=64), 4, SIDES),
}


def maps_of(shape, dtype, layout, device):
    x = torch.randn(shape, dtype=torch.float64).to(device, dtype)
    return x.to(memory_format=torch.channels_last) if layout == "channels last" else x


@pytest.mark.parametrize("layout", ["rows last", "channels last"])
@pytest.mark.parametrize("window", [3, 5, 7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_kernels_equal_the_formulas(device, dtype, window, layout):
    for shape in [(3, 64, 17, 13), (2, 5, 1, 9), (1, 256, 64, 64)]:
        x, grad = (maps_of(shape, dtype, layout, device) for _ in range(2))
        found = StructureEnhancement(0.3, window)(x.requires_grad_())
        (found_grad,) = torch.autograd.grad(found, x, grad)
        wide = x.detach().double()
        tolerance = {} if dtype == torch.float64 else {"rtol": max(1e-4, torch.finfo(dtype).eps), "atol": 1e-4}
        torch.testing.assert_close(found.double(), structure.enhance(wide, 0.3, window), **tolerance)
        expected = structure.gradient(wide, grad.double(), 0.3, window)
        torch.testing.assert_close(found_grad.double(), expected, **tolerance)
        assert found.stride() == found_grad.stride() == x.stride()


def test_the_kernels_run_on_the_gpu_of_their_tensors(second):
    x = torch.randn(2, 8, 9, 9, device=second, requires_grad=True)
    out = StructureEnhancement()(x)
    torch.testing.assert_close(out, structure.enhance(x, 0.25, 5))
    assert torch.autograd.grad(out.sum(), x)[0].device == second


def batch():
    return {
        "image": torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8),
        "glare": (torch.rand(8, 1, 64, 64) > 0.95).to(torch.uint8),
        "label": torch.arange(4).repeat_interleave(2),
        "domain": torch.tensor([0, 1]).repeat(4),
        "colour": torch.tensor([0, 1, -1, 0, 1, -1, 0, 1]),
        "type": torch.randint(0, 2, (8,)),
        "camera": torch.tensor([0, 1, -1, 0, 1, -1, 0, 1]),
        "view": torch.randint(0, 2, (8,)),
    }


def moved(values, device):
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in values.items()}


@contextlib.contextmanager
def no_waits(device):
    """Makes whatever waits for the device an error."""
    before = torch.cuda.get_sync_debug_mode() if device.type == "cuda" else None
    if before is not None:
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if before is not None:
            torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_computes_what_a_processor_does_and_waits_for_nothing(device, monkeypatch, name, precision):
    method = METHODS[name](Backbone("resnet18"))
    monkeypatch.setattr(method, "log", lambda *_, **__: None)
    monkeypatch.setattr(method, "all_gather", lambda values: values)
    here = method.on_before_batch_transfer(batch(), 0)
    expected = {term: value.item() for term, value in method.losses(here).items()}
    method.to(device)
    there, dtype = moved(here, device), getattr(torch, precision)
    for _ in range(2):  # what a library sets up in the first step may wait
        with no_waits(device) if _ else contextlib.nullcontext():
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                losses = method.losses(there)
                total = method.training_step(there)
            total.backward()
        if not _:
            for term, value in losses.items():
                near = {"rtol": 0.01, "atol": 1e-3} if precision == "float32" else {"rtol": 0.05, "atol": 0.02}
                torch.testing.assert_close(value.item(), expected[term], **near)
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_a_copy_to_the_host_waits_only_when_it_is_read(device):
    values = torch.randn(5, device=device)
    with no_waits(device):
        copy = HostCopy(values.isfinite())
    assert copy.read().tolist() == [True] * 5


def test_dndm_needs_little_more_memory_than_a_plain_network(device):
    torch.cuda.empty_cache()
    peaks = {}
    for name in ("bot", "dndm"):
        method = METHODS[name](Backbone("resnet50")).to(device, memory_format=torch.channels_last)
        values = moved(batch() | {"image": torch.zeros(8, 3, 256, 256, dtype=torch.uint8)}, device)
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16):
            total = sum(method.losses(values).values())
        total.backward()
        peaks[name] = torch.cuda.max_memory_allocated()
        del method, total
    assert peaks["dndm"] < 1.6 * peaks["bot"]


def test_rankings_are_equal_on_all_devices_and_back_ends(device):
    query, gallery = torch.randn(40, 64), torch.randn(500, 64)
    query_ids, gallery_ids = torch.randint(20, (40,)).numpy(), torch.randint(20, (500,)).numpy()
    expected, distances = search(query, gallery, 30, backend="torch")
    for backend in ("torch", "faiss"):
        found, near = search(query.to(device), gallery.to(device), 30, backend=backend)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(near, distances, rtol=1e-5)
    result = evaluate(query, gallery, query_ids, gallery_ids)
    there = evaluate(query.to(device), gallery.to(device), query_ids, gallery_ids)
    assert there.mAP == pytest.approx(result.mAP, abs=1e-7)
    everything = torch.cat([query, gallery])
    both = (FeatureDistance(images, images) for images in (everything, everything.to(device)))
    rows = [KReciprocalDistance(distance, 40).block(slice(0, 40), slice(0, 500)).cpu() for distance in both]
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-4, atol=1e-5)


QUICK = ("experiment=quickstart", "transforms.size=64", "epochs=2", "validate_every=2", "workers=0", "logger=csv")


def command(module, *arguments):
    return [sys.executable, "-m", module, *arguments]


def run(module, *arguments):
    subprocess.run(command(module, *arguments), cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def mean_map(folder):
    tasks = json.loads((folder / "metrics.json").read_text())["tasks"]
    return [task["mAP"] for task in tasks.values()]


def test_a_stopped_run_goes_on_and_its_checkpoint_is_read_on_the_other_device(device, tmp_path):
    folder, checkpoint = tmp_path / "run", tmp_path / "run/stages/main/last.ckpt"
    process = subprocess.Popen(command("src.train", *QUICK, "trainer=gpu", f"paths.run_dir={folder}"), cwd=ROOT)
    while not checkpoint.is_file() and process.poll() is None:
        time.sleep(0.1)
    process.terminate()
    process.wait(timeout=120)
    run("src.train", f"resume={folder}")
    assert torch.load(checkpoint, map_location="cpu", weights_only=True)["epoch"] == 1
    run("src.evaluate", f"checkpoint={checkpoint}", "trainer=cpu", "workers=0", f"paths.run_dir={tmp_path / 'cpu'}")
    assert mean_map(tmp_path / "cpu") == pytest.approx(mean_map(folder), abs=2e-3)


def test_two_processes_measure_what_one_does(second, tmp_path):
    run("src.train", *QUICK, "trainer=ddp", "trainer.devices=2", f"paths.run_dir={tmp_path / 'run'}")
    for count in (1, 2):
        checkpoint = tmp_path / "run/stages/main/last.ckpt"
        trainer = ["trainer=ddp", f"trainer.devices={count}", "workers=0"]
        run("src.evaluate", f"checkpoint={checkpoint}", *trainer, f"paths.run_dir={tmp_path / str(count)}")
    assert mean_map(tmp_path / "2") == pytest.approx(mean_map(tmp_path / "1"), abs=1e-6)
