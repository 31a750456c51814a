"""What DNDM's modules do, against running its parts one by one."""

import pytest
import torch
from torch import nn

from src.methods.bot import BoT
from src.methods.dndm import DNDM
from src.networks import Backbone


def method(**options):
    torch.manual_seed(1)
    made = DNDM(Backbone("resnet18"), num_classes=4, **options).eval()
    nn.init.normal_(made.network.classifier.weight)
    return made


@pytest.fixture
def batch():
    images = torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8)
    glare = (torch.rand(4, 1, 64, 96) > 0.9).to(torch.uint8)
    domain = torch.tensor([0, 1, 1, 0])
    return {"image": images, "glare": glare, "domain": domain, "vehicle_id": torch.tensor([8, 8, -1, -1])}


def strength(features):
    return features.square().mean(dim=1).sqrt()


@torch.no_grad()
def test_steps_are_what_the_modules_compute(batch):
    made = method()
    steps = {(step.module.split(",")[0], step.title): step.maps for step in made.explain(batch)}
    assert [*steps] == [
        ("NGS", "glare mask"),
        ("NGS", "suppression mask"),
        ("DSE", "features before"),
        ("DSE", "structural descriptor"),
        ("DSE", "features after"),
        ("CCA", "class map, stage 1"),
        ("CCA", "class map, stage 4"),
    ]
    network = made.network
    mask = batch["glare"] * (batch["domain"] == 1).view(-1, 1, 1, 1)
    torch.testing.assert_close(steps["NGS", "glare mask"], mask[:, 0].float())
    x, carried = network.backbone.begin(batch["image"])
    small = nn.functional.adaptive_max_pool2d(mask.float(), x.shape[2:])
    m = torch.sigmoid(network.glare.projection(torch.cat([x, small], dim=1)))
    torch.testing.assert_close(steps["NGS", "suppression mask"], m[:, 0])
    x = x - 0.5 * m * x
    maps = {}
    for number, stage in enumerate(network.backbone.stages, start=1):
        before, carried = stage(x, carried)
        x = network.structure(before)
        if number == 1:
            torch.testing.assert_close(steps["DSE", "features before"], strength(before))
            torch.testing.assert_close(steps["DSE", "features after"], strength(x))
            structure = steps["DSE", "structural descriptor"]
            torch.testing.assert_close(structure, strength((x - before) / 0.25), rtol=1e-3, atol=1e-5)
        cca = network.awareness[str(number)]
        maps[number] = cca.project_norm(cca.project(x))
        x = cca(x)
    scores = network.classifier(x.mean(dim=(2, 3)))
    taken_for = [(scores[0] + scores[1]).argmax()] * 2 + [scores[2].argmax(), scores[3].argmax()]
    for number in (1, 4):
        for place, k in enumerate(taken_for):
            w, b = network.classifier.weight[k], network.classifier.bias[k]
            expected = torch.sigmoid(torch.tensordot(w, maps[number][place], 1) + b)
            torch.testing.assert_close(
                steps["CCA", f"class map, stage {number}"][place], expected, rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize(
    ("options", "modules", "said"),
    [
        ({"glare": False, "structure_stages": (3,)}, ["DSE"] * 3 + ["CCA"] * 2, "strength of features"),
        ({"structure_stages": (), "awareness_stages": (2,)}, ["NGS", "NGS", "CCA"], "suppressed (NGS); the map"),
        ({"awareness_stages": ()}, ["NGS"] * 2 + ["DSE"] * 3, "(DSE)"),
        ({"awareness_at_test": "own"}, ["NGS"] * 2 + ["DSE"] * 3 + ["CCA"] * 2, "(CCA)"),
    ],
)
def test_modules_that_are_off_are_not_shown(batch, options, modules, said):
    made = method(**options)
    assert [step.module.split(",")[0] for step in made.explain(batch)] == modules
    assert said in made.explanation


def test_what_has_no_modules_says_nothing():
    assert method(glare=False, structure_stages=(), awareness_stages=()).explanation == ""
    assert BoT(Backbone("resnet18"), num_classes=4).explanation == ""
