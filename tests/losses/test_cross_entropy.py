import math

import pytest
import torch

from src.losses import cross_entropy


def reference(logits, labels, smoothing, kind):
    costs = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label < 0:
            continue
        total = math.log(sum(math.exp(v) for v in row))
        cost = 0.0
        for k, value in enumerate(row):
            if kind == "uniform":
                target = (1 - smoothing) * (k == label) + smoothing / len(row)
            else:
                target = 1 - smoothing if k == label else smoothing / (len(row) - 1)
            cost -= target * (value - total)
        costs.append(cost)
    return sum(costs) / len(costs)


@pytest.mark.parametrize("kind", ["uniform", "others"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("labels", [[0, 4, 2, 2], [3, -1, 1, -1]])
def test_equals_sum_over_classes(kind, smoothing, labels):
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor(labels)
    loss = cross_entropy(logits, labels, smoothing, kind)
    assert loss.item() == pytest.approx(reference(logits, labels, smoothing, kind), abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_uniform_equals_torch_with_its_gradient(smoothing):
    logits = torch.randn(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    labels = torch.tensor([0, 6, 3, -1, 1, 1])
    loss = cross_entropy(logits, labels, smoothing)
    expected = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits, retain_graph=True), torch.autograd.grad(expected, logits)
    )


def test_no_known_label_costs_nothing_but_can_be_backpropagated():
    logits = torch.randn(3, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.full((3,), -1), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.count_nonzero() == 0


def test_half_precision_is_computed_in_float32():
    logits = (torch.randn(4, 1000, generator=torch.Generator().manual_seed(3)) * 8).half()
    labels = torch.tensor([1, 5, 999, 0])
    loss = cross_entropy(logits, labels, 0.1, "others")
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(logits.double(), labels, 0.1, "others").float())


def test_rejects_bad_arguments():
    logits, labels = torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match="'uniform' or 'others', not 'other'"):
        cross_entropy(logits, labels, 0.1, "other")
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1.5"):
        cross_entropy(logits, labels, 1.5)
