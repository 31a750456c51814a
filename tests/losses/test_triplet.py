import math

import pytest
import torch

from src.losses import batch_hard_triplet, cross_domain_triplet


def distance(a, b, squared=False):
    total = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return total if squared else math.sqrt(total)


def reference(features, positives, negatives, cost, squared=False, reduction="mean"):
    """Plain loops: `positives(i, j)` and `negatives(i, j)` say who is whose."""
    rows, costs = features.tolist(), []
    for i, anchor in enumerate(rows):
        p = [distance(anchor, other, squared) for j, other in enumerate(rows) if positives(i, j)]
        n = [distance(anchor, other, squared) for j, other in enumerate(rows) if negatives(i, j)]
        if p and n:
            costs.append(cost(max(p) - min(n)))
    return sum(costs) / (len(costs) if reduction == "mean" else 1)


def random_features(seed, n=10, dim=6):
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# unequal counts, no order, one identity alone
LABELS = torch.tensor([3, 0, 3, 7, 0, 3, 1, 7, 7, 7])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(
    ("options", "cost"),
    [
        ({"margin": 0.3}, lambda gap: max(0, gap + 0.3)),
        ({"margin": None}, lambda gap: math.log1p(math.exp(gap))),
        ({"margin": 0.7, "soft": True}, lambda gap: math.log1p(math.exp(gap + 0.7))),
    ],
)
def test_batch_hard_equals_loops(squared, options, cost, reduction):
    features = random_features(4)
    loss = batch_hard_triplet(features, LABELS, squared=squared, reduction=reduction, **options)
    expected = reference(
        features,
        lambda i, j: LABELS[i] == LABELS[j] and i != j,
        lambda i, j: LABELS[i] != LABELS[j],
        cost,
        squared,
        reduction,
    )
    assert loss.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("options", [{}, {"squared": True, "margin": 2.0}, {"soft": True, "norm": 1.5}])
def test_several_features_of_each_sample_are_compared_each_with_its_like(options):
    features = torch.stack([random_features(seed) for seed in (1, 2, 3)]).requires_grad_()
    alone = [batch_hard_triplet(feature, LABELS, reduction="sum", **options) for feature in features]
    together = batch_hard_triplet(features, LABELS, reduction="sum", **options)
    torch.testing.assert_close(together, sum(alone))
    gradients = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in (together, sum(alone))]
    torch.testing.assert_close(*gradients)
    means = [batch_hard_triplet(feature, LABELS, **options) for feature in features]
    torch.testing.assert_close(3 * batch_hard_triplet(features, LABELS, **options), sum(means))


@pytest.mark.parametrize("norm", [1.0, 2.5])
@pytest.mark.parametrize("squared", [False, True])
def test_features_of_one_length_are_the_same_features_shortened_by_hand(norm, squared):
    features = random_features(8)
    lengths = [math.sqrt(sum(x * x for x in row)) for row in features.tolist()]
    shortened = norm * features / torch.tensor(lengths, dtype=torch.float64)[:, None]
    options = {"margin": 0.3, "squared": squared, "soft": True}
    loss = batch_hard_triplet(features, LABELS, **options, norm=norm)
    assert loss.item() == pytest.approx(batch_hard_triplet(shortened, LABELS, **options).item(), abs=1e-12)
    torch.testing.assert_close(batch_hard_triplet(0.01 * features, LABELS, **options, norm=norm), loss)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: batch_hard_triplet(f, LABELS, **options, norm=norm), features)
    (gradient,) = torch.autograd.grad(batch_hard_triplet(features, LABELS, **options, norm=norm), features)
    torch.testing.assert_close((gradient * features).sum(dim=1), torch.zeros(10, dtype=torch.float64))  # no length


def test_cross_domain_equals_loops_over_its_own_definition():
    features = random_features(5)
    domains = torch.tensor([0, 0, 1, 1, 1, 0, 1, 1, -1, 0])
    known = domains >= 0
    loss = cross_domain_triplet(features, LABELS, domains, margin=1.5)
    expected = reference(
        features,
        lambda i, j: LABELS[i] == LABELS[j] and domains[i] != domains[j] and known[i] and known[j],
        lambda i, j: LABELS[i] != LABELS[j] and domains[i] == domains[j] and known[i] and known[j],
        lambda gap: max(0, gap + 1.5),
    )
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_cross_domain_of_features_of_one_length():
    features, domains = random_features(9), torch.tensor([0, 0, 1, 1, 1, 0, 1, 1, -1, 0])
    shortened = 2 * features / features.square().sum(dim=1, keepdim=True).sqrt()
    loss = cross_domain_triplet(features, LABELS, domains, 1.5, norm=2.0)
    torch.testing.assert_close(loss, cross_domain_triplet(shortened, LABELS, domains, 1.5))
    torch.testing.assert_close(cross_domain_triplet(0.01 * features, LABELS, domains, 1.5, norm=2.0), loss)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: cross_domain_triplet(f, LABELS, domains, 1.5, norm=2.0), features)


def test_cross_domain_ignores_the_order_of_the_batch():
    features, domains = random_features(6), torch.tensor([0, 0, 1, 1, 1, 0, 1, 1, 0, 0])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(
        cross_domain_triplet(features, LABELS, domains),
        cross_domain_triplet(features[order], LABELS[order], domains[order]),
    )


@pytest.mark.parametrize("squared", [False, True])
def test_gradient_equals_finite_differences(squared):
    features = random_features(7).requires_grad_()
    for reduction in ("mean", "sum"):
        assert torch.autograd.gradcheck(
            lambda f, reduction=reduction: batch_hard_triplet(f, LABELS, 2.0, squared, reduction=reduction), features
        )
    domains = torch.tensor([0, 0, 1, 1, 1, 0, 1, 1, 0, 0])
    assert torch.autograd.gradcheck(lambda f: cross_domain_triplet(f, LABELS, domains, 2.0), features)


@pytest.mark.parametrize("squared", [False, True])
def test_equal_features_have_a_finite_gradient(squared):
    features = torch.ones(4, 3, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), 0.3, squared)
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[0, 1, 2], [5, 5, 5]])
def test_without_any_triplet_the_loss_is_zero_with_a_gradient(labels):
    labels, domains = torch.tensor(labels), torch.tensor([0, 1, 0])
    for loss_of in (
        lambda f: batch_hard_triplet(f, labels, None),
        lambda f: cross_domain_triplet(f, labels, domains),
    ):
        features = torch.randn(3, 4, requires_grad=True)
        loss = loss_of(features)
        loss.backward()
        assert loss.item() == 0
        assert features.grad.count_nonzero() == 0


def test_half_precision_is_measured_in_float32():
    features = (random_features(8) * 100).half()
    loss = batch_hard_triplet(features, LABELS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, batch_hard_triplet(features.double(), LABELS).float())
