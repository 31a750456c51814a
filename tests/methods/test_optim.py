import math
from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from src.methods.base import ReIDMethod
from src.methods.bot import BoT
from src.methods.optim import Optim, Schedule
from src.networks import Backbone, DFRSTNetwork


def rates(cfg, epochs):
    """Learning rates (backbone, head) of every epoch under a configured optimiser."""
    network = nn.ModuleDict({"trunk": nn.Linear(2, 2), "classifier": nn.Linear(2, 2)})
    optimizer, schedule = instantiate(cfg.optim).build(network, [network["classifier"]])
    seen = []
    for _ in range(epochs):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return torch.tensor(seen, dtype=torch.float64)


def test_dndm_released_schedule(composed):
    expected = []
    for epoch in range(80):
        factor = 0.1 + 0.09 * epoch if epoch < 10 else 1 if epoch < 20 else 0.1 if epoch < 50 else 0.01
        expected.append([0.01 * factor, 0.1 * factor])
    torch.testing.assert_close(rates(composed("optim=dndm_released"), 80), torch.tensor(expected, dtype=torch.float64))


def test_dndm_paper_schedule(composed):
    seen = rates(composed("optim=dndm_paper"), 80)
    assert seen[[0, 10, 19, 20, 49, 50, 79], 0].tolist() == pytest.approx([1e-2, 1e-1, 1e-1, 1e-3, 1e-3, 1e-4, 1e-4])
    assert torch.equal(seen[:, 0], seen[:, 1])


def test_bot_schedule(composed):
    seen = rates(composed("method=bot"), 100)[:, 0].tolist()
    assert [seen[e] for e in (0, 10, 39, 40, 70)] == pytest.approx([3.5e-5, 3.5e-4, 3.5e-4, 3.5e-5, 3.5e-6])


def test_frozen_parameters_are_left_out():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    optimizer, _ = Optim(lambda groups: torch.optim.SGD(groups, lr=1.0), head_factor=3.0).build(network, [network[1]])
    assert [(len(g["params"]), g["lr"]) for g in optimizer.param_groups] == [(2, 3.0)]


@pytest.mark.parametrize(("milestones", "factors"), [([1, 2], [0.1]), ([2, 1], [0.1, 0.01])])
def test_milestones_without_their_factors_are_refused(milestones, factors):
    with pytest.raises(ValueError, match="one factor for each"):
        Schedule(milestones=milestones, factors=factors)


class Linear(ReIDMethod):
    def __init__(self):
        super().__init__()
        self.trunk, self.classifier = nn.Linear(2, 2), nn.Linear(2, 2)

    @property
    def head(self):
        return [self.classifier]


@pytest.mark.parametrize(
    ("rule", "processes", "accumulated", "factor"),
    [
        ("none", 8, 1, 1),
        ("linear", 1, 1, 32 / 64),
        ("linear", 2, 1, 1),
        ("linear", 8, 2, 8),
        ("sqrt", 1, 1, 0.5**0.5),
        ("sqrt", 8, 1, 2),
    ],
)
def test_rates_follow_the_images_of_a_step_over_all_processes(composed, rule, processes, accumulated, factor):
    cfg = composed("optim=dndm_released", f"optim.scale_lr={rule}", "optim.reference_batch=64")
    method = Linear()
    method.begin_stage(instantiate(cfg.optim), (), {})
    method.trainer = SimpleNamespace(
        world_size=processes, accumulate_grad_batches=accumulated, datamodule=SimpleNamespace(train_batch_size=32)
    )
    schedule = method.configure_optimizers()["lr_scheduler"]["scheduler"]
    assert schedule.base_lrs == pytest.approx([0.01 * factor, 0.1 * factor])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale_lr": "cubic", "reference_batch": 64}, r"optim.scale_lr is 'cubic', expected none, linear or sqrt"),
        (
            {"scale_lr": "linear"},
            r"optim.scale_lr=linear needs to know .* optim.reference_batch=64, say, instead of None",
        ),
        ({"scale_lr": "sqrt", "reference_batch": 0}, r"instead of 0"),
    ],
)
def test_a_rule_without_its_reference_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Optim(torch.optim.SGD, **options)


def test_rates_fall_from_layer_to_layer_and_biases_learn_at_their_own():
    method = BoT(Backbone("resnet18", ibn="a"), num_classes=3)
    optim = Optim(lambda groups: torch.optim.SGD(groups, lr=1.0), head_factor=3.0, layer_decay=0.5, bias_factor=2.0)
    optimizer, _ = optim.build(method, method.head)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    seen = {name: rates[id(p)] for name, p in method.named_parameters() if p.requires_grad}
    assert seen["neck.classifier.weight"] == 3
    assert seen["backbone.stages.3.layer4.1.conv1.weight"] == 0.5
    assert seen["backbone.stages.3.layer4.1.bn1.bias"] == 0.5 * 2
    assert seen["backbone.stages.3.layer4.0.conv1.weight"] == 0.5**2
    assert seen["backbone.stages.0.layer1.0.bn1.IN.weight"] == 0.5**8
    assert seen["backbone.stem.conv1.weight"] == 0.5**9
    assert len(seen) == sum(p.requires_grad for p in method.parameters())


@pytest.mark.parametrize(("name", "blocks"), [("vit_tiny_patch16_224", 12), ("eva02_tiny_patch14_224", 12)])
def test_a_transformers_layers_are_its_blocks(name, blocks):
    backbone = Backbone(name)
    optimizer, _ = Optim(lambda groups: torch.optim.SGD(groups, lr=1.0), layer_decay=0.5).build(backbone, [])
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    seen = {name: rates[id(p)] for name, p in backbone.named_parameters()}
    for parameter, rate in seen.items():
        block = parameter.split(".")[2].removeprefix("blocks_")
        layer = int(block) + 1 if block.isdigit() else 0 if parameter.startswith("stem") else blocks
        assert rate == 0.5 ** (blocks + 1 - layer), parameter


def test_a_copied_branch_learns_as_slowly_as_what_it_was_copied_from():
    network = DFRSTNetwork(Backbone("resnet18"), 3, dimension=8)
    optimizer, _ = Optim(lambda groups: torch.optim.SGD(groups, lr=1.0), layer_decay=0.5).build(network, [])
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for copied, own in zip(network.fine_stages.parameters(), network.backbone.stages[2:].parameters(), strict=True):
        assert rates[id(copied)] == rates[id(own)] < 0.6


def test_transreid_schedule(composed):
    seen = rates(composed("method=transreid", "epochs=40"), 40)[:, 0].tolist()
    expected = []
    for epoch in range(40):
        cosine = (1 + math.cos(math.pi * epoch / 40)) / 2
        expected.append(0.008 * (0.01 + 0.99 * epoch / 5 if epoch < 5 else 0.002 + 0.998 * cosine))
    assert seen == pytest.approx(expected)


def test_a_cosine_and_steps_exclude_each_other():
    with pytest.raises(ValueError, match="not both; pass cosine_epochs=null or milestones="):
        Schedule(milestones=[1], factors=[0.1], cosine_epochs=5)
