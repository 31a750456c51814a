"""Where features are strong, against running the network's parts one by one."""

import pytest
import torch

from src.methods.bot import BoT
from src.methods.dfr_st import DFRST
from src.methods.dndm import DNDM
from src.networks import Backbone


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8)


def energy(features):
    """The mean of the squares over the channels, place by place."""
    expected = torch.zeros(len(features), *features.shape[2:], dtype=torch.float64)
    for b in range(len(features)):
        for y in range(features.shape[2]):
            for x in range(features.shape[3]):
                expected[b, y, x] = sum(float(value) ** 2 for value in features[b, :, y, x]) / features.shape[1]
    return expected


def last_map(stem_to_stages, images):
    backbone, stages = stem_to_stages
    x, carried = backbone.begin(images)
    for stage in stages:
        x, carried = stage(x, carried)
    return x


@torch.no_grad()
def test_any_method_shows_the_last_stage_of_its_backbone(images):
    method = BoT(Backbone("resnet18"), num_classes=4).eval()
    (found,) = method.attention({"image": images}).items()
    expected = energy(method.backbone(images))
    assert found[0] == "last stage"
    assert expected.std() > 0
    torch.testing.assert_close(found[1].double(), expected)

    method = DNDM(Backbone("resnet18"), num_classes=4).eval()
    batch = {"image": images, "domain": torch.zeros(3, dtype=torch.long), "glare": torch.zeros(3, 1, 64, 96)}
    assert method.attention(batch)["last stage"].shape == (3, 4, 6)


@torch.no_grad()
def test_dfr_st_shows_both_streams_and_what_attention_does(images):
    method = DFRST(Backbone("resnet18"), num_classes=4, dimension=8).eval()
    network = method.network
    found = method.attention({"image": images})
    assert list(found) == ["coarse", "fine before attention", "fine after attention"]
    shared = [*network.backbone.stages[:2]]
    coarse = last_map((network.backbone, [*shared, *network.backbone.stages[2:]]), images)
    fine = last_map((network.backbone, [*shared, *network.fine_stages]), images)
    for features, seen in zip((coarse, fine, network.attention(fine)), found.values(), strict=True):
        torch.testing.assert_close(seen.double(), energy(features), rtol=1e-4, atol=1e-7)
    assert list(method.train().attention({"image": images})) == list(found)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"coarse": False}, ["fine before attention", "fine after attention"]),
        ({"branches": ()}, ["coarse"]),
        ({"attention": None}, ["coarse", "fine before attention"]),
    ],
)
def test_dfr_st_shows_the_streams_it_has(images, options, names):
    method = DFRST(Backbone("resnet18"), num_classes=4, dimension=8, **options).eval()
    assert list(method.attention({"image": images})) == names


def test_looking_leaves_no_hook_behind_even_if_embedding_fails(images):
    method = BoT(Backbone("resnet18"), num_classes=4).eval()
    stage = method.feature_maps["last stage"]
    method.attention({"image": images})
    with pytest.raises(KeyError, match="image"):
        method.attention({})
    assert not stage._forward_hooks
