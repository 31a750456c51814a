import torch

from src.networks import BNNeck
from src.networks.blocks.bnneck import Classifier


def test_normalises_and_classifies_through_the_origin():
    torch.manual_seed(0)
    neck = BNNeck(4, 3).double()
    f = torch.randn(6, 4, dtype=torch.float64)
    f_bn, logits = neck(f)
    expected = (f - f.mean(0)) / (f.var(0, unbiased=False) + neck.bn.eps).sqrt()
    torch.testing.assert_close(f_bn, expected)
    torch.testing.assert_close(logits, expected @ neck.classifier.weight.T)
    assert neck.classifier.bias is None


def test_the_bias_of_the_normalisation_stays_zero():
    neck = BNNeck(4, 3)
    optimizer = torch.optim.SGD([p for p in neck.parameters() if p.requires_grad], lr=1.0)
    f_bn, _ = neck(torch.randn(6, 4))
    f_bn.square().sum().backward()
    optimizer.step()
    assert neck.bn.bias.count_nonzero() == 0


def test_classifier_starts_close_to_zero():
    torch.manual_seed(1)
    classifier = Classifier(256, 100, bias=True)
    assert 0.0009 < classifier.weight.std().item() < 0.0011
    assert classifier.bias.count_nonzero() == 0
