import math

import pytest
import torch

from src.losses import gate_loss


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_equals_loops_over_the_domains():
    gate = torch.rand(5, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(11))
    domains = [1, 0, -1, 1, 1]
    values = gate.flatten(1).tolist()
    day = [-math.log(1 - sigmoid(g)) for row, d in zip(values, domains, strict=True) if d == 0 for g in row]
    night = [-math.log(sigmoid(g)) for row, d in zip(values, domains, strict=True) if d == 1 for g in row]
    expected = (sum(day) / len(day) + sum(night) / len(night)) / 2
    assert gate_loss(gate, torch.tensor(domains)).item() == pytest.approx(expected, abs=1e-12)


def test_a_domain_that_is_absent_adds_nothing():
    gate = torch.rand(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    only_night = gate_loss(gate, torch.tensor([1, 1]))
    torch.testing.assert_close(only_night, -gate.sigmoid().log().mean() / 2)
    only_night.backward()
    assert gate.grad.isfinite().all()
