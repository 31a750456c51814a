"""The centre loss and its step, against loops over samples and against SGD on the loss itself."""

import pytest
import torch

from src.losses import CenterLoss


@pytest.fixture
def loss():
    return CenterLoss(5, 3).double()


@pytest.fixture
def batch():
    return torch.randn(6, 3, dtype=torch.float64), torch.tensor([2, 0, 2, 4, 2, 0])


def test_equals_the_mean_of_squared_distances(loss, batch):
    features, labels = batch
    expected = 0.0
    for f, y in zip(features.tolist(), labels.tolist(), strict=True):
        expected += sum((a - b) ** 2 for a, b in zip(f, loss.centers[y].tolist(), strict=True)) / 6
    assert loss(features, labels).item() == pytest.approx(expected, abs=1e-12)


def test_pulls_the_features_and_no_centres(loss, batch):
    features, labels = batch
    assert torch.autograd.gradcheck(lambda f: loss(f, labels), features.clone().requires_grad_())
    features = features.requires_grad_()
    loss(features, labels).backward()
    torch.testing.assert_close(features.grad, 2 * (features - loss.centers[labels]).detach() / 6)
    assert list(loss.parameters()) == []


def test_steps_as_gradient_descent_on_the_loss_would(loss, batch):
    loss.rate = 0.3
    centers = torch.nn.Parameter(loss.centers.clone())
    optimizer = torch.optim.SGD([centers], lr=0.3)
    for _ in range(4):
        features, labels = torch.randn(6, 3, dtype=torch.float64), batch[1][torch.randperm(6)]
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for f, y in zip(features, labels.tolist(), strict=True):
            total = total + (f - centers[y]).square().sum() / 6
        total.backward()
        optimizer.step()
        loss.step(features, labels)
        torch.testing.assert_close(loss.centers, centers.detach())


def test_moves_only_the_centres_that_occur(loss, batch):
    before = loss.centers.clone()
    loss.step(*batch)
    moved = (loss.centers != before).any(dim=1)
    assert moved.tolist() == [True, False, True, False, True]


def test_a_batch_is_worth_the_same_in_whatever_order_and_precision(loss, batch):
    features, labels = batch
    other = CenterLoss(5, 3)
    other.centers.copy_(loss.centers)
    order = torch.randperm(6)
    loss.step(features, labels)
    other.step(features[order].bfloat16(), labels[order])
    assert other.centers.dtype == torch.float32
    torch.testing.assert_close(other.centers.double(), loss.centers, atol=5e-3, rtol=0)
    assert other(features.half(), labels).dtype == torch.float32


def test_mixed_precision_does_not_round_the_step():
    one, other = CenterLoss(5, 3), CenterLoss(5, 3)
    other.centers.copy_(one.centers)
    features, labels = torch.randn(6, 3), torch.tensor([2, 0, 2, 4, 2, 0])
    one.step(features, labels)
    with torch.autocast("cpu", torch.bfloat16):
        other.step(features, labels)
    assert torch.equal(one.centers, other.centers)
