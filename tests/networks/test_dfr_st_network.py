"""DFR-ST's network: streams, branches and parts."""

from copy import deepcopy

import pytest
import torch

from src.networks import Backbone, Branch, DFRSTNetwork
from src.networks.blocks.division import at_once, part_averages

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


# Parts that divide map and channels, and such that do not.
@pytest.mark.parametrize("parts", [{}, {"height": 3, "width": 5, "channel": 3}])
def test_all_parts_at_once_are_each_alone(backbone, parts):
    network = DFRSTNetwork(backbone(), CLASSES, dimension=8, parts=parts).double().train()
    alone = deepcopy(network)
    images = torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8)
    out = network(images)
    coarse, fine = alone.maps(images)
    expected = [alone.coarse(coarse.mean(dim=(2, 3)))]
    for branch in alone.branches:
        dimension = {"height": 2, "width": 3}.get(branch.axis, 1)
        cut = fine.tensor_split(len(branch.embeddings), dimension)
        expected += [embed(part.mean(dim=(2, 3))) for embed, part in zip(branch.embeddings, cut, strict=True)]
    features, normalised, logits = zip(*expected, strict=True)
    torch.testing.assert_close(out.embedding, torch.cat(normalised, dim=1))
    torch.testing.assert_close(out.metric, [features[0], features[1]])
    torch.testing.assert_close(torch.stack(out.logits), torch.stack(logits))

    def total(embedding, metric, logits):
        weights = torch.arange(CLASSES, dtype=torch.float64)
        return (
            embedding.sin().sum() + sum(f.square().sum() for f in metric) + (torch.stack(logits).cos() * weights).sum()
        )

    total(*out).backward()
    total(torch.cat(normalised, dim=1), features[:2], logits).backward()
    for (name, found), wanted in zip(network.named_parameters(), alone.parameters(), strict=True):
        if wanted.grad is not None:
            torch.testing.assert_close(found.grad, wanted.grad, msg=name)
    for (name, found), wanted in zip(network.named_buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(found, wanted, msg=name)  # the running statistics


def test_parts_whose_statistics_stay_or_are_shared_by_processes_are_taken_alone(backbone):
    network = DFRSTNetwork(backbone(), CLASSES, dimension=8)
    embeddings = [network.coarse, *(embed for branch in network.branches for embed in branch.embeddings)]
    assert at_once(embeddings)
    assert not at_once(network.eval() and embeddings)
    assert not at_once([embed.train() for embed in embeddings[:3]] + embeddings[3:])
    synced = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network.train())
    assert not at_once([synced.coarse, *synced.branches[0].embeddings])


def by_hand(branches, x, gate):
    """The parts' averages in float64, with the map times the gate cut into pieces."""
    weighted, averages = (x.double() if gate is None else x.double() * gate.double()), []
    for branch in branches:
        pieces = weighted.tensor_split(len(branch.embeddings), {"height": 2, "width": 3}.get(branch.axis, 1))
        averages += [piece.sum(dim=(2, 3)) / (piece.shape[2] * piece.shape[3]) for piece in pieces]
    return averages


def weighted_sum(averages, seed=3):
    random = torch.Generator().manual_seed(seed)
    weights = [torch.randn(part.shape, generator=random, dtype=torch.float64) for part in averages]
    return sum((part.double() * weight).sum() for part, weight in zip(averages, weights, strict=True))


AXES = [["whole", "height", "width", "channel"], ["width", "height"], ["channel"], ["whole"]]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("size", [(4, 6), (5, 7)])  # both, and neither, fall into two equal parts
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gated", [True, False])
def test_averages_of_all_parts_and_their_gradient(axes, size, memory_format, gated):
    branches = [Branch(axis, 1 if axis == "whole" else 2, 9, 3, CLASSES) for axis in axes]
    x = torch.randn(2, 9, *size, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    gate = torch.rand(2, 1, *size, dtype=torch.float64).requires_grad_() if gated else None
    given = (x, gate) if gated else (x,)
    found, expected = part_averages(branches, x, gate), by_hand(branches, x, gate)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(weighted_sum(averages), given) for averages in (found, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close([part for branch in branches for part in branch.averages(x)], by_hand(branches, x, None))


@pytest.mark.parametrize("size", [(16, 16), (15, 13)])
def test_averages_of_parts_in_bfloat16_and_their_gradient_are_rounded_little(size):
    branches = [Branch(axis, 1 if axis == "whole" else 4, 64, 3, CLASSES) for axis in AXES[0]]
    x = torch.randn(3, 64, *size).relu().bfloat16().to(memory_format=torch.channels_last).requires_grad_()
    gate = torch.rand(3, 1, *size).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = part_averages(branches, x, gate)
    expected = by_hand(branches, x, gate)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2**-7, atol=2**-11)
    of_found, of_expected = (torch.autograd.grad(weighted_sum(averages), (x, gate)) for averages in (found, expected))
    for one, other in zip(of_found, of_expected, strict=True):
        assert (one.double() - other.double()).norm() < 2**-7 * other.double().norm()
    assert of_found[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("attention", ["channel_spatial", "spatial_channel", "parallel", "spatial", "channel", None])
@pytest.mark.parametrize("branches", [("whole", "height", "width", "channel"), ("height", "channel")])
def test_a_step_is_that_of_the_weighted_map_cut_by_hand(backbone, attention, branches):
    network = DFRSTNetwork(backbone(), CLASSES, dimension=8, attention=attention, branches=branches).double().train()
    images = torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8)
    _, fine = network.maps(images)
    fine_branches = [*network.branches]
    expected = [embed for branch in fine_branches for embed in branch.embeddings]
    expected = [embed.reduce(part) for embed, part in zip(expected, by_hand(fine_branches, fine, None), strict=True)]
    network.embedding = "before_neck"
    features = network(images).embedding[:, 8:].split(8, dim=1)
    torch.testing.assert_close(list(features), expected)
    weights = [p for name, p in network.named_parameters() if name.startswith(("fine_stages", "attention"))]
    for one, other in zip(*(torch.autograd.grad(weighted_sum(f), weights) for f in (features, expected)), strict=True):
        torch.testing.assert_close(one, other)


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
