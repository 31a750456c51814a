"""Every method on backbones of every kind: composed from its configuration, and one batch trained."""

import pytest
import torch
from hydra.utils import instantiate

from src.checkpoints.restore import build_method
from src.config.pools import complete_pools

NAMES = {"colour": ["red", "white"], "type": ["sedan", "truck"]}
METHODS = ("bot", "dndm", "dfr_st", "vehiclenet", "attribute_guided")
BACKBONES = ("resnet50", "convnext_tiny", "swin_tiny", "vit_small")


def batch(size):
    """Two vehicles of two classes, by day and by night."""
    return {
        "image": torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8),
        "label": torch.tensor([0, 0, 1, 1]),
        "domain": torch.tensor([0, 1, 0, 1]),
        "camera_id": torch.tensor([1, 2, 1, 3]),
        "colour": torch.tensor([0, 0, 1, 1]),
        "type": torch.tensor([0, 0, 1, -1]),
        "glare": torch.randint(0, 2, (4, 1, size, size), dtype=torch.uint8),
    }


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_trained(composed, method, backbone):
    torch.manual_seed(0)
    few = ["method.parts={height: 2, width: 2, channel: 4}"] if method == "dfr_st" else []  # a map has 2 × 2 places
    cfg = composed(f"method={method}", f"backbone={backbone}", "backbone.weights=null", "transforms.size=64", *few)
    complete_pools(cfg)
    built = build_method(cfg, 2, NAMES).train()
    optimizer, _ = instantiate(cfg.stages.main.optim, _convert_="all").build(built, built.head)
    before = {name: value.detach().clone() for name, value in built.named_parameters()}
    losses = built.losses(batch(64))
    torch.stack([*losses.values()]).sum().backward()
    optimizer.step()
    learning = {name: value for name, value in built.named_parameters() if value.requires_grad}
    assert not [name for name, value in learning.items() if value.grad is None]  # which DDP would wait for
    assert not all(value.equal(before[name]) for name, value in learning.items())
    assert all(value.isfinite().all() for value in learning.values())
    embeddings = built.eval()(batch(64))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
