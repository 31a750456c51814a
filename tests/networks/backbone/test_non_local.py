import pytest
import torch
from torch import nn

from src.networks import Backbone
from src.networks.backbone.non_local import NonLocal


def test_every_position_sees_every_other():
    block = NonLocal(3).double().eval()
    nn.init.normal_(block.W[1].weight)
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    theta, phi, g = block.theta(x), block.phi(x), block.g(x)
    places = [(i, j) for i in range(2) for j in range(4)]
    y = torch.zeros(2, 1, 2, 4, dtype=torch.float64)
    for b in range(2):
        for i, j in places:
            y[b, 0, i, j] = sum(theta[b, 0, i, j] * phi[b, 0, k, m] * g[b, 0, k, m] for k, m in places) / 8
    torch.testing.assert_close(block(x), block.W(y) + x)


def test_starts_as_the_identity_behind_the_last_blocks():
    images = torch.randint(0, 256, (2, 3, 48, 48)).float()
    plain = Backbone("resnet26").eval()
    seeing = Backbone("resnet26", non_local=(0, 1, 2, 0)).eval()
    assert seeing.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    assert [name for name, module in seeing.named_modules() if isinstance(module, NonLocal)] == [
        "stages.1.layer2.1.act3.1",
        "stages.2.layer3.0.act3.1",
        "stages.2.layer3.1.act3.1",
    ]
    with torch.no_grad():
        torch.testing.assert_close(seeing(images), plain(images))


@pytest.mark.parametrize("counts", [(0, 3, 0, 0), (0, 1, 0), (0, 0, -1, 0)])
def test_stages_with_fewer_blocks(counts):
    with pytest.raises(ValueError, match=r"as backbone 'resnet26' has bottlenecks, \[2, 2, 2, 2\]\."):
        Backbone("resnet26", non_local=counts)
