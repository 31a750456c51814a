"""A GPU that is not there: what a training step may not ask of it, and where its tensors have to be."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.methods.attribute_guided import AttributeGuided
from src.methods.attributes import AttributeClassifier
from src.methods.bot import BoT
from src.methods.dfr_st import DFRST
from src.methods.dndm import DNDM, DNDMReleased
from src.methods.transreid import TransReID
from src.methods.vehiclenet import VehicleNet
from src.networks import Backbone
from src.networks.blocks.covariance import mean_covariance
from tests.made_up_device import OnDevice

NAMES = {"colour": ["red", "white"], "type": ["sedan", "truck"]}
SIDES = {"camera": ["1", "2"], "view": ["front", "rear"]}
METHODS = {
    "bot": lambda backbone: BoT(backbone, 4),
    "bot, other options": lambda backbone: BoT(
        backbone, 4, "gem", smoothing_kind="others", margin=None, squared=True, soft=True
    ),
    "dndm": lambda backbone: DNDM(backbone, 4),
    "dndm, random pairs": lambda backbone: DNDM(backbone, 4, pairing="random"),
    "dndm_released": lambda backbone: DNDMReleased(backbone, 4),
    "dfr_st": lambda backbone: DFRST(backbone, 4, dimension=16),
    "vehiclenet": lambda backbone: VehicleNet(backbone, 4, dimension=16),
    "attribute_guided": lambda backbone: AttributeGuided(backbone, 4, NAMES, dimension=16, attribute_dimension=8),
    "attribute_classifier": lambda backbone: AttributeClassifier(backbone, 4, NAMES, dimension=16),
    "transreid": lambda _: TransReID(Backbone("vit_tiny_patch16_224", image_size=64), 4, SIDES),
}


@pytest.fixture(params=METHODS)
def method(request, monkeypatch):
    """A method that logs nothing and is the only process."""
    method = METHODS[request.param](Backbone("resnet18"))
    monkeypatch.setattr(method, "log", lambda *_, **__: None)
    monkeypatch.setattr(method, "all_gather", lambda values: values)
    return method


def batch_of(method):
    batch = {
        "image": torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8),
        "glare": (torch.rand(8, 1, 64, 64) > 0.95).to(torch.uint8),
        "label": torch.arange(4).repeat_interleave(2),
        "domain": torch.tensor([0, 1]).repeat(4),
        "colour": torch.tensor([0, 1, -1, 0, 1, -1, 0, 1]),
        "type": torch.randint(0, 2, (8,)),
        "camera": torch.tensor([0, 1, -1, 0, 1, -1, 0, 1]),
        "view": torch.randint(0, 2, (8,)),
    }
    return method.on_before_batch_transfer(batch, 0)  # as Lightning does while the batch is on the host


class NoWaits(TorchDispatchMode):
    """Fails where a GPU would have to hand something to the host, or take something from it, before all goes on.

    That is a number, a tensor whose size depends on the values of another, and one made of Python's numbers.
    """

    WAITING = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "equal", "is_nonzero", "lift_fresh")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__.lstrip("_")
        assert not name.startswith(tuple(word.lstrip("_") for word in self.WAITING)) or name.startswith("unique_"), name
        if name.startswith("index"):
            masks = [x for x in tree_leaves(args[1:2]) if isinstance(x, torch.Tensor) and x.dtype == torch.bool]
            assert not masks, f"{name} by a mask"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[0].item(),
        lambda x: bool(x.isfinite().all()),
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: x[x > 0],
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.tensor([1, 2], device=x.device),
        lambda x: x.masked_select(x > 0),
    ],
)
def test_waits_are_noticed(wait):
    x = torch.arange(3.0)
    with pytest.raises(AssertionError), NoWaits():
        wait(x)


def test_no_training_step_waits_for_the_device(method):
    batch = batch_of(method)
    with NoWaits():
        method.training_step(batch).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def to_device(module):
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = torch.nn.Parameter(value.detach().as_subclass(OnDevice), value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = value.as_subclass(OnDevice)
    return module


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.cat([x, torch.zeros(2)]),
        lambda x: x.index_select(0, torch.zeros(2, dtype=torch.long)),
        lambda x: torch.where(torch.ones(3) > 0, x, x),
        lambda x: torch.ones(3).mul_(x),
    ],
)
def test_mixed_devices_are_noticed(device, mix):
    x = torch.ones(3).as_subclass(OnDevice)
    with device:
        assert x.device == torch.zeros(2, device=x.device).device == x.new_zeros(2).device == torch.device("cuda:0")
        assert (x + 1).is_cuda
        assert not torch.zeros(2).is_cuda
        with pytest.raises(AssertionError, match="mixes"):
            mix(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
def test_all_of_a_method_is_on_its_device(method, device, dtype):
    batch = {k: v.as_subclass(OnDevice) if isinstance(v, torch.Tensor) else v for k, v in batch_of(method).items()}
    to_device(method)
    with device:
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            losses = method.losses(batch)
            total = method.training_step(batch)
        total.backward()
        method.eval()
        with torch.no_grad(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            embeddings = method(batch)
        assert embeddings.is_cuda
        assert all(value.is_cuda and value.dtype == torch.float32 for value in losses.values())
    assert embeddings.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for p in method.parameters() if p.requires_grad)
    assert embeddings.isfinite().all()


def test_the_covariance_of_a_device_lies_there(device):
    with device:
        x = torch.rand(2, 3, 4, 4).as_subclass(OnDevice)
        assert [value.is_cuda for value in mean_covariance(x)] == [True] * 3
