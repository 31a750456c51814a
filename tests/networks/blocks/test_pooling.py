import pytest
import torch

from src.networks import GAP, GeM


def test_gap_equals_the_mean_over_positions():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = [[sum(sum(row) for row in plane) / 20 for plane in sample] for sample in x.tolist()]
    torch.testing.assert_close(GAP()(x), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("p", [1.0, 3.0, 4.5])
def test_gem_equals_loops(p):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = [
        [(sum(max(v, 1e-6) ** p for row in plane for v in row) / 20) ** (1 / p) for plane in sample]
        for sample in x.tolist()
    ]
    torch.testing.assert_close(GeM(p).double()(x), torch.tensor(expected, dtype=torch.float64))


def test_gem_learns_its_exponent():
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    pool = GeM().double()
    p = pool.p.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, p: torch.func.functional_call(pool, {"p": p}, x), (x, p))


def test_gem_does_not_overflow_half_precision():
    pooled = GeM()(torch.full((1, 2, 3, 3), 100.0, dtype=torch.float16))  # 100³ is beyond float16
    assert pooled.dtype == torch.float16
    torch.testing.assert_close(pooled, torch.full((1, 2), 100.0, dtype=torch.float16))
