import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from src.networks import ClassAwareness
from src.networks.blocks import covariance
from src.networks.blocks.covariance import mean_covariance


def reference(x):
    rows = x.transpose(0, 1).flatten(1)
    return rows.mean(dim=1), torch.cov(rows, correction=0)


@pytest.mark.parametrize("positions", [1, 40, 4096])
def test_equals_torch_with_its_gradient(monkeypatch, positions):
    monkeypatch.setattr(covariance, "POSITIONS", positions)
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64).requires_grad_()
    a, b = torch.randn(3, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    mean, cov, count = mean_covariance(x)
    expected_mean, expected_cov = reference(x)
    torch.testing.assert_close((mean, cov, count.item()), (expected_mean, expected_cov, 80.0))
    torch.testing.assert_close(
        torch.autograd.grad((mean * a).sum() + (cov * b).sum(), x),
        torch.autograd.grad((expected_mean * a).sum() + (expected_cov * b).sum(), x),
    )


def test_survives_a_mean_far_above_the_deviation():
    x = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.1 + 1000
    _, cov, _ = mean_covariance(x)
    torch.testing.assert_close(cov.double(), reference(x.double())[1], rtol=0, atol=1e-5)


def test_half_precision_is_accumulated_in_float32():
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2)).bfloat16()
    mean, cov, _ = mean_covariance(x)
    assert mean.dtype == cov.dtype == torch.float32
    torch.testing.assert_close((mean, cov), reference(x.float()))


@pytest.mark.parametrize("block", ["covariance", "class awareness"])
def test_stays_float32_where_tf32_is_allowed(block):
    """Read off where the products are made, for a CPU has no TF32 that could change them."""
    settings = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func._overloadpacket in (torch.ops.aten.addmm_, torch.ops.aten.mm, torch.ops.aten.mv):
                settings.append((torch.backends.mkldnn.matmul.fp32_precision, args[-1].dtype))
            return func(*args, **(kwargs or {}))

    x = torch.randn(2, 3, 4, 4).bfloat16()
    module = ClassAwareness(3, 40, "folded")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with Products(), torch.autocast("cpu", torch.bfloat16):
            _ = mean_covariance(x) if block == "covariance" else module._affine(x)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert len(settings) == (1 if block == "covariance" else 3)
    assert set(settings) == {("ieee", torch.float32)}
