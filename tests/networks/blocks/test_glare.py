import math

import pytest
import torch

from src.networks import GlareSuppression


def test_equals_the_formula_position_by_position():
    torch.manual_seed(0)
    block = GlareSuppression(3, alpha=0.7).double()
    x, glare = torch.randn(2, 3, 4, 5, dtype=torch.float64), (torch.rand(2, 1, 16, 20) > 0.9).to(torch.uint8)
    v = block.projection.weight.flatten().tolist()
    expected = x.clone()
    for b in range(2):
        for i in range(4):
            for j in range(5):
                mask = glare[b, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].max().item()
                column = [*x[b, :, i, j].tolist(), mask]
                m = 1 / (1 + math.exp(-sum(a * w for a, w in zip(column, v, strict=True))))
                expected[b, :, i, j] = x[b, :, i, j] - 0.7 * m * x[b, :, i, j]
    torch.testing.assert_close(block(x, glare), expected)


@pytest.mark.parametrize("size", [(64, 64), (50, 37), (8, 8)])
def test_a_single_highlight_survives_any_ratio(size):
    block = GlareSuppression(2)
    torch.nn.init.zeros_(block.projection.weight)
    block.projection.weight.data[0, -1] = 100.0  # the gate is one where the mask is set and one half elsewhere
    glare = torch.zeros(1, 1, *size)
    glare[0, 0, size[0] // 2, size[1] // 3] = 1
    suppressed = block(torch.ones(1, 2, 8, 8), glare)
    assert (suppressed[0, 0] < 0.6).any()
    assert (suppressed[0, 0] > 0.7).any()


def test_has_no_bias():
    assert [name for name, _ in GlareSuppression(4).named_parameters()] == ["projection.weight"]
