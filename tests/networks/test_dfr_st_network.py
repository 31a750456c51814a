"""DFR-ST's network: streams, branches and parts."""

import pytest
import torch

from src.networks import Backbone, Branch, DFRSTNetwork

CLASSES = 7


@pytest.fixture(scope="module")
def backbone():
    return lambda: Backbone("resnet18")


@pytest.mark.parametrize(("axis", "dimension"), [("height", 2), ("width", 3), ("channel", 1)])
@torch.no_grad()
def test_a_branch_embeds_equal_parts(axis, dimension):
    branch = Branch(axis, 3, 12, 5, CLASSES).eval()
    x = torch.randn(4, 12, 6, 9)
    found = branch(x)
    assert len(found) == 3
    size = x.shape[dimension] // 3
    for number, (feature, normalised, logits) in enumerate(found):
        part = x.narrow(dimension, number * size, size)
        embed = branch.embeddings[number]
        expected = part.mean(dim=(2, 3)) @ embed.reduce.weight.T
        torch.testing.assert_close(feature, expected)
        bn = embed.neck.bn
        scaled = (expected - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight
        torch.testing.assert_close(normalised, scaled)
        torch.testing.assert_close(logits, scaled @ embed.neck.classifier.weight.T)


def test_channels_that_do_not_divide_are_all_used():
    branch = Branch("channel", 4, 10, 5, CLASSES)
    assert [embed.reduce.in_features for embed in branch.embeddings] == [3, 3, 2, 2]
    assert len(branch(torch.randn(2, 10, 3, 3))) == 4


def test_whole_network(backbone):
    network = DFRSTNetwork(backbone(), CLASSES, dimension=8)
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    out = network(images)
    assert out.embedding.shape == (4, 8 * (1 + 1 + 3 * 4))
    assert [feature.shape for feature in out.metric] == [(4, 8)] * 2
    assert [scores.shape for scores in out.logits] == [(4, CLASSES)] * 14
    loss = torch.stack([scores.square().mean() for scores in out.logits]).sum() + out.embedding.sum()
    loss.backward()
    without = [name for name, p in network.named_parameters() if p.grad is None and p.requires_grad]
    assert without == []


@torch.no_grad()
def test_the_streams_share_the_first_stages_and_start_with_the_same_weights(backbone):
    network = DFRSTNetwork(backbone(), CLASSES, attention=None, dimension=8).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    coarse, fine = network.maps(images)
    torch.testing.assert_close(coarse, fine)
    torch.testing.assert_close(coarse, network.backbone(images))
    own, copied = network.backbone.stages[2:], network.fine_stages
    assert len(copied) == 2
    for one, other in zip(own.parameters(), copied.parameters(), strict=True):
        assert one.data_ptr() != other.data_ptr()
    assert len(DFRSTNetwork(backbone(), CLASSES, shared_stages=3).fine_stages) == 1


VARIANTS = [
    ({"branches": []}, 1, 1),  # the coarse stream alone
    ({"coarse": False, "branches": ["whole"]}, 1, 1),
    ({"branches": ["whole"]}, 2, 2),
    ({"branches": ["height"], "parts": {"height": 2}}, 3, 1),
    ({"coarse": False, "branches": ["width", "channel"], "parts": {"width": 3}}, 7, 0),
    ({"branches": ["whole", "height"], "attention": "spatial"}, 6, 2),
]


@pytest.mark.parametrize(("options", "n_parts", "n_metric"), VARIANTS)
def test_branches_are_switched_one_by_one(backbone, options, n_parts, n_metric):
    network = DFRSTNetwork(backbone(), CLASSES, dimension=4, **options)
    out = network(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    assert out.embedding.shape == (2, 4 * n_parts)
    assert (len(out.logits), len(out.metric)) == (n_parts, n_metric)


def test_other_backbones_have_streams_too():
    network = DFRSTNetwork(Backbone("tf_efficientnet_lite0"), CLASSES, dimension=4)
    assert network(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)).embedding.shape == (2, 56)


WRONG = [
    ({"coarse": False, "branches": []}, "nothing is left"),
    ({"branches": ["depth"]}, "branches names 'depth'"),
    ({"shared_stages": 4}, "shared_stages is 4, expected 0 to 3"),
    ({"parts": {"height": 0}}, r"parts\.height is 0"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_impossible_networks_are_refused(backbone, options, message):
    with pytest.raises(ValueError, match=message):
        DFRSTNetwork(backbone(), CLASSES, **options)


def test_more_parts_than_rows_are_refused(backbone):
    network = DFRSTNetwork(backbone(), CLASSES, branches=["height"], parts={"height": 9})
    with pytest.raises(ValueError, match=r"parts\.height is 9, but the map has only 4"):
        network(torch.zeros(2, 3, 64, 64))


def test_a_backbone_without_stages_is_refused():
    with pytest.raises(ValueError, match="DFR-ST works on a backbone's stages"):
        DFRSTNetwork(Backbone("hrnet_w18_small", last_stride=2), CLASSES)
