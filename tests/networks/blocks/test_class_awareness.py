import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from src.networks import ClassAwareness, Exchange, partners
from src.networks.blocks.bnneck import Classifier

LABELS = torch.tensor([4, 1, 4, 4, 1, 9, 1, 4])
DOMAINS = torch.tensor([0, 1, 1, 0, 0, 1, 1, -1])


def block(form="plain", channels=3, wide=7, seed=0, at_test="none"):
    """A block whose parameters and statistics are all away from their starting values."""
    torch.manual_seed(seed)
    module = ClassAwareness(channels, wide, form, at_test).double()
    module.running_map.fill_(0.3)
    for norm in (module.project_norm, module.restore_norm):
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return module


def inputs(seed=1, wide=7):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 3, 5, 4, dtype=torch.float64, generator=g).requires_grad_()
    weight = torch.randn(8, wide, dtype=torch.float64, generator=g).requires_grad_()
    bias = torch.randn(8, dtype=torch.float64, generator=g).requires_grad_()
    return x, Exchange(weight, bias, partners(LABELS, DOMAINS))


def by_loops(module, x, exchange):
    """Equations 10 to 13, sample by sample and position by position."""
    p = module.project_norm(module.project(x))
    maps = torch.stack(
        [torch.sigmoid(torch.tensordot(exchange.weight[i], p[i], 1) + exchange.bias[i]) for i in range(len(x))]
    )
    modulated = p.clone()
    for i in range(len(x)):
        others = [
            j for j in range(len(x)) if LABELS[j] == LABELS[i] and DOMAINS[i] >= 0 and DOMAINS[j] == 1 - DOMAINS[i]
        ]
        if others:
            modulated[i] = p[i] * sum(maps[j] for j in others) / len(others)
    return x + module.restore_norm(module.restore(modulated)).relu()


def classifier(classes=6, wide=7):
    torch.manual_seed(3)
    module = Classifier(wide, classes, bias=True).double()
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias, std=0.1)
    return module


def at_test_by_loops(module, x, scores):
    """What `awareness_at_test` multiplies P with, sample by sample and position by position."""
    p = module.project_norm(module.project(x))
    modulated = p.clone()
    for i in range(len(x)):
        positions = [(r, c) for r in range(p.shape[2]) for c in range(p.shape[3])]
        classes = range(scores.out_features)
        logits = [[scores.weight[k] @ p[i, :, r, c] + scores.bias[k] for r, c in positions] for k in classes]
        best = max(classes, key=lambda k: sum(logits[k]) / len(positions))
        for place, (r, c) in enumerate(positions):
            factor = {"none": 1.0, "mean": module.running_map, "own": 1 / (1 + (-logits[best][place]).exp())}
            modulated[i, :, r, c] = p[i, :, r, c] * factor[module.at_test]
    return x + module.restore_norm(module.restore(modulated)).relu()


@pytest.mark.parametrize("form", ["plain", "folded"])
@pytest.mark.parametrize("at_test", ["none", "mean", "own"])
def test_at_test_equals_the_formulas_and_their_gradients(form, at_test):
    x = (inputs()[0] + 3 * torch.randn(8, 3, 1, 1)).detach().requires_grad_()  # of several classes
    module, scores = block(form, at_test=at_test).eval(), classifier()
    slope = torch.randn_like(x)
    learnt = [*module.parameters(), *(scores.parameters() if at_test == "own" else ())]
    outputs = (module(x, classifier=scores), at_test_by_loops(module, x, scores))
    results = [(out, torch.autograd.grad((out * slope).sum(), [x, *learnt])) for out in outputs]
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
    chosen = {scores(p).argmax().item() for p in module.project_norm(module.project(x)).mean(dim=(2, 3))}
    assert len(chosen) > 1  # or the choice of the class would not be tested


def test_an_exchange_goes_before_what_is_done_at_test():
    x, exchange = inputs()
    for at_test in ("mean", "own"):
        torch.testing.assert_close(block(at_test=at_test)(x, exchange), by_loops(block(), x, exchange))


@pytest.mark.parametrize("form", ["plain", "folded"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_training_keeps_the_running_mean_of_what_it_multiplied_with(form, momentum):
    module, expected = block(form), 0.3
    module.project_norm.momentum = momentum
    for step in range(3):
        x, exchange = inputs(seed=step)
        p = nn.functional.batch_norm(
            module.project(x), None, None, module.project_norm.weight, module.project_norm.bias, training=True
        )
        maps = torch.sigmoid(torch.einsum("bc,bchw->bhw", exchange.weight, p) + exchange.bias[:, None, None])
        factors = torch.ones_like(maps)
        for i in range(8):
            others = [j for j in range(8) if exchange.partners[i, j] > 0]
            if others:
                factors[i] = sum(maps[j] for j in others) / len(others)
        weight = 1 / (step + 1) if momentum is None else momentum
        expected = (1 - weight) * expected + weight * factors.mean().item()
        module(x, exchange)
    assert module.running_map.item() == pytest.approx(expected, rel=1e-6)
    before = module.running_map.clone()
    module(x)
    module.eval()(x, exchange)
    assert module.running_map.equal(before)


def test_with_a_constant_class_map_the_mean_is_what_training_did():
    """A is 3/4 everywhere: then `mean` gives what the exchange gives, and `none` adds more."""
    x, exchange = inputs()
    exchange = Exchange(torch.zeros_like(exchange.weight), torch.full((8,), 3.0).double().log(), exchange.partners)
    pairs = exchange.partners.sum(dim=1) > 0
    none, mean = (block(at_test=at_test).eval() for at_test in ("none", "mean"))
    mean.running_map.fill_(0.75)
    torch.testing.assert_close(mean(x)[pairs], none(x, exchange)[pairs])
    assert not torch.isclose(none(x)[pairs], none(x, exchange)[pairs]).all()


@pytest.mark.parametrize("form", ["plain", "folded"])
def test_class_maps_are_those_of_the_equation(form):
    x, exchange = inputs()
    module = block(form).eval()
    p = module.project_norm(module.project(x))
    found = module.class_map(x, exchange.weight, exchange.bias)
    for i in range(8):
        for r in range(5):
            for c in range(4):
                expected = torch.sigmoid(exchange.weight[i] @ p[i, :, r, c] + exchange.bias[i])
                torch.testing.assert_close(found[i, r, c], expected)


def test_partners_are_the_identitys_samples_in_the_other_domain():
    weights = partners(LABELS, DOMAINS)
    for i in range(8):
        others = [j for j in range(8) if LABELS[j] == LABELS[i] and DOMAINS[i] >= 0 and DOMAINS[j] == 1 - DOMAINS[i]]
        expected = torch.zeros(8)
        expected[others] = 1 / max(len(others), 1)
        torch.testing.assert_close(weights[i], expected)
    assert weights[5].sum() == weights[7].sum() == 0  # alone, and of unknown domain


def test_random_pairing_picks_each_partner_now_and_then():
    torch.manual_seed(2)
    allowed = partners(LABELS, DOMAINS) > 0
    draws = torch.stack([partners(LABELS, DOMAINS, "random") for _ in range(100)])
    assert ((draws == 0) | (draws == 1)).all()
    torch.testing.assert_close(draws.sum(dim=2), allowed.any(dim=1).float().expand(100, -1))
    assert torch.equal(draws.any(dim=0), allowed)


@pytest.mark.parametrize("form", ["plain", "folded"])
def test_equals_the_equations(form):
    x, exchange = inputs()
    torch.testing.assert_close(block(form)(x, exchange), by_loops(block(), x, exchange))


@pytest.mark.parametrize("form", ["plain", "folded"])
def test_a_sample_without_partner_stays_as_it_is(form):
    x, exchange = inputs()
    module = block(form).eval()  # with running statistics the samples do not touch each other
    with_exchange, without = module(x, exchange), module(x)
    alone = exchange.partners.sum(dim=1) == 0
    torch.testing.assert_close(with_exchange[alone], without[alone])
    assert not torch.isclose(with_exchange[~alone], without[~alone]).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("exchanging", [True, False])
def test_folded_equals_plain_in_output_gradients_and_statistics(training, exchanging):
    plain, folded = block("plain").train(training), block("folded").train(training)
    results = []
    for module in (plain, folded):
        for _ in range(2):  # twice, so that the statistics have moved
            x, exchange = inputs()
            out = module(x, exchange if exchanging else None)
        sources = [x, *module.parameters(), *(exchange[:2] if exchanging else ())]
        loss = (out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)).sum()
        results.append((out, torch.autograd.grad(loss, sources), dict(module.state_dict())))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)


def test_folded_gradient_equals_finite_differences():
    module = block("folded")
    x, exchange = inputs()
    x = x.detach()[:4, :, :2, :2].requires_grad_()
    weight, bias = (t.detach()[:4].requires_grad_() for t in exchange[:2])
    module.project_norm.momentum = module.restore_norm.momentum = 0.0  # repeated calls must not move the statistics

    def run(x, weight, bias):
        return module(x, Exchange(weight, bias, exchange.partners[:4, :4]))

    assert torch.autograd.gradcheck(run, (x, weight, bias))


def test_folded_reaches_every_parameter():
    module = block("folded")
    x, exchange = inputs()
    module(x, exchange).sum().backward()
    assert all(p.grad is not None for p in module.parameters())  # or distributed training would wait for it


def test_folded_survives_a_mean_far_above_the_deviation():
    x, exchange = inputs()
    x = x.detach().float() * 0.1 + 100
    exchange = Exchange(exchange.weight.float(), exchange.bias.float(), exchange.partners)
    out = block("folded").float()(x, exchange)
    expected = block("plain")(x.double(), Exchange(*(t.double() for t in exchange)))
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("form", ["plain", "folded"])
def test_autocast_keeps_the_statistics_in_float32(form):
    x, exchange = inputs()
    x, exchange = x.float(), Exchange(exchange.weight.float(), exchange.bias.float(), exchange.partners)
    module, reference = block(form).float(), block("plain")
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x, exchange)
    out.sum().backward()
    expected = reference(x.double(), Exchange(*(t.double() for t in exchange)))
    assert (out - expected).abs().mean() < 0.02
    torch.testing.assert_close(
        module.project_norm.running_var.double(), reference.project_norm.running_var, rtol=0.02, atol=0.02
    )
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_cumulative_statistics_are_supported():
    plain, folded = block("plain"), block("folded")
    x, _ = inputs()
    for module in (plain, folded):
        module.project_norm.momentum = None
        module(x)
        module(x * 2)
    torch.testing.assert_close(folded.project_norm.running_var, plain.project_norm.running_var)


@pytest.mark.parametrize(
    ("channels", "wide", "size", "training", "folds"),
    [
        (8, 64, 64, True, True),  # a wide detour over many positions
        (64, 64, 64, True, False),  # the covariance costs as much as one of the convolutions
        (64, 64, 64, False, True),  # which is not needed at test
        (8, 64, 1, True, False),  # too few positions to pay for the matrices
    ],
)
def test_auto_counts_operations(monkeypatch, channels, wide, size, training, folds):
    module = ClassAwareness(channels, wide).train(training)
    monkeypatch.setattr(module, "_plain", lambda x, *_: x)
    monkeypatch.setattr(module, "_folded", lambda x, *_: pytest.fail("folded") if not folds else x)
    if folds:
        monkeypatch.setattr(module, "_plain", lambda *_: pytest.fail("plain"))
    x = torch.rand(2, channels, size, size)
    assert module(x).shape == x.shape


def test_both_forms_share_a_state_dict():
    plain, folded = block("plain"), ClassAwareness(3, 7, "folded").double()
    folded.load_state_dict(plain.state_dict())
    x, exchange = inputs()
    torch.testing.assert_close(folded(x, exchange), deepcopy(plain)(x, exchange))


def test_rejects_bad_arguments():
    with pytest.raises(ValueError, match="'auto', 'plain' or 'folded', got 'fold'"):
        ClassAwareness(2, 4, "fold")
    with pytest.raises(ValueError, match="'none', 'mean' or 'own', got 'half'"):
        ClassAwareness(2, 4, at_test="half")
    with pytest.raises(ValueError, match="needs the classifier, which is not there"):
        ClassAwareness(2, 4, at_test="own").eval()(torch.rand(1, 2, 3, 3), classifier=nn.Identity())
    with pytest.raises(ValueError, match="'mean' or 'random', got 'first'"):
        partners(LABELS, DOMAINS, "first")


WORKER = """
import sys, torch
from torch import nn, distributed
from src.networks import ClassAwareness, Exchange
folder, rank = sys.argv[1], int(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
saved = torch.load(f"{folder}/inputs.pt", weights_only=True)
module = ClassAwareness(3, 7, "folded").double()
module.load_state_dict(saved["state"])
norm = nn.SyncBatchNorm(7).double()
norm.load_state_dict(module.project_norm.state_dict())
module.project_norm = norm
module.restore_norm.eval()
x = saved["x"][rank::2].requires_grad_()
weight, bias, partners = saved["exchange"]
out = module(x, Exchange(weight[rank::2], bias[rank::2], partners[rank::2, rank::2]))
(out * saved["slope"][rank::2]).sum().backward()
grads = {name: p.grad for name, p in module.named_parameters()}
torch.save({"out": out.detach(), "x": x.grad, "grads": grads, "state": module.state_dict()}, f"{folder}/{rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_with_synchronised_statistics_equal_one(tmp_path):
    module = block("folded")
    module.restore_norm.eval()  # it is synchronised by torch itself, on GPUs only
    x, exchange = inputs()
    labels = torch.tensor([4, 1, 4, 1, 1, 9, 4, 4])
    places = torch.arange(8)
    # partners are looked for within one process
    together = partners(labels, torch.tensor([0, 0, 1, 1, 0, 1, 1, -1])) * ((places[:, None] - places) % 2 == 0)
    together /= together.sum(dim=1, keepdim=True).clamp(min=1)
    exchange = Exchange(*(value.detach() for value in exchange[:2]), together)
    assert 2 < together.any(dim=1).sum() < 8
    slope = torch.randn_like(x)
    saved = {"state": module.state_dict(), "x": x.detach(), "slope": slope, "exchange": tuple(exchange)}
    torch.save(saved, tmp_path / "inputs.pt")
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank)], cwd=Path(__file__).parents[3]) for rank in (0, 1)]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    out = module(x, exchange)
    (out * slope).sum().backward()
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for rank, half in enumerate(halves):
        torch.testing.assert_close(half["out"], out.detach()[rank::2])
        torch.testing.assert_close(half["x"], x.grad[rank::2])
        torch.testing.assert_close(half["state"], dict(module.state_dict()))
    for name, p in module.named_parameters():
        torch.testing.assert_close(halves[0]["grads"][name] + halves[1]["grads"][name], p.grad)
