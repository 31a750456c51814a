"""The attribute-guided network against its layers applied one by one."""

import pytest
import torch
from torch.nn import functional as F

from src.networks import AttributeGuidedNetwork, Backbone


@pytest.fixture
def images():
    return torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)


def linear(layer, x):
    rows = [sum(w * v for w, v in zip(row, x, strict=True)) for row in layer.weight.tolist()]
    return [row + bias for row, bias in zip(rows, layer.bias.tolist(), strict=True)]


@pytest.mark.parametrize("attributes", [{}, {"type": 3}, {"colour": 2, "type": 5}])
def test_every_branch_follows_the_neck(images, attributes):
    network = AttributeGuidedNetwork(Backbone("resnet18"), 6, attributes, dimension=5, attribute_dimension=4).double()
    with torch.no_grad():
        seen = network(images)
        pooled = network.backbone(images).mean(dim=(2, 3))
        f = torch.tensor([linear(network.reduce, row) for row in pooled.tolist()], dtype=torch.float64)
        torch.testing.assert_close(seen.f, f)
        f_bn = F.batch_norm(f, None, None, network.neck.bn.weight, training=True)  # zero bias
        torch.testing.assert_close(seen.f_bn, f_bn)
        f_id = f_bn
        if attributes:
            f_id = torch.tensor([linear(network.identity, row) for row in f_bn.tolist()], dtype=torch.float64)
        torch.testing.assert_close(seen.f_id, f_id)
        torch.testing.assert_close(seen.logits, f_id @ network.neck.classifier.weight.T)
        assert list(seen.features) == list(seen.attribute_logits) == list(attributes)
        for branch, (name, count) in zip(network.branches, attributes.items(), strict=True):
            feature = torch.tensor([linear(branch.reduce, row) for row in f_bn.tolist()], dtype=torch.float64)
            torch.testing.assert_close(seen.features[name], feature)
            assert seen.attribute_logits[name].shape == (4, count)
            torch.testing.assert_close(
                seen.attribute_logits[name], feature @ branch.classifier.weight.T + branch.classifier.bias
            )


def test_the_neck_has_no_bias_to_learn():
    network = AttributeGuidedNetwork(Backbone("resnet18"), 3, {"type": 2}, dimension=4)
    assert not network.neck.bn.bias.requires_grad
    assert network.neck.classifier.bias is None


@pytest.mark.parametrize(
    ("name", "last_stride", "side"), [("densenet121", 2, 2), ("hrnet_w18_small", 2, 2), ("resnet18", 1, 4)]
)
def test_the_papers_families_of_extractors_fit(images, name, last_stride, side):
    network = AttributeGuidedNetwork(Backbone(name, last_stride=last_stride), 3, {}, dimension=8)
    assert network.backbone(images).shape[2:] == (side, side)
    assert network(images).f.shape == (4, 8)
