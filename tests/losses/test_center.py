import pytest
import torch

from src.losses import CenterLoss


def test_equals_the_mean_of_squared_distances():
    torch.manual_seed(9)
    loss = CenterLoss(5, 3).double()
    features, labels = torch.randn(4, 3, dtype=torch.float64), torch.tensor([2, 0, 2, 4])
    expected = 0.0
    for f, y in zip(features.tolist(), labels.tolist(), strict=True):
        expected += sum((a - b) ** 2 for a, b in zip(f, loss.centers[y].tolist(), strict=True)) / 4
    assert loss(features, labels).item() == pytest.approx(expected, abs=1e-12)


def test_moves_only_the_centres_that_occur():
    torch.manual_seed(10)
    loss = CenterLoss(4, 2)
    features, labels = torch.randn(3, 2), torch.tensor([1, 3, 1])
    loss(features, labels).backward()
    grad = torch.zeros(4, 2)
    for f, y in zip(features, labels.tolist(), strict=True):
        grad[y] += 2 * (loss.centers[y].detach() - f) / 3
    torch.testing.assert_close(loss.centers.grad, grad)
