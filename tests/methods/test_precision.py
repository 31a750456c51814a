"""Mixed precision, as Lightning's `bf16-mixed` computes it, against float32."""

import pytest
import torch
from torch.nn import functional as F

from src.methods.attribute_guided import AttributeGuided
from src.methods.bot import BoT
from src.methods.dfr_st import DFRST
from src.methods.dndm import DNDM, DNDMReleased
from src.methods.vehiclenet import VehicleNet
from src.networks import Backbone

NAMES = {"colour": ["red", "white"], "type": ["sedan", "truck"]}
METHODS = {
    "bot": lambda backbone: BoT(backbone, 4),
    "bot_gem": lambda backbone: BoT(backbone, 4, pooling="gem"),
    "dndm": lambda backbone: DNDM(backbone, 4),
    "dndm_released": lambda backbone: DNDMReleased(backbone, 4),
    "dfr_st": lambda backbone: DFRST(backbone, 4, dimension=16),
    "vehiclenet": lambda backbone: VehicleNet(backbone, 4, dimension=16),
    "attribute_guided": lambda backbone: AttributeGuided(backbone, 4, NAMES, dimension=16, attribute_dimension=8),
}


def gradient(method):
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", METHODS)
def test_a_step_and_the_embeddings_are_close_to_those_of_full_precision(name):
    batch = {
        "image": torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8),
        "glare": (torch.rand(8, 1, 64, 64) > 0.95).to(torch.uint8),
        "label": torch.arange(4).repeat_interleave(2),
        "domain": torch.tensor([0, 1]).repeat(4),
        "colour": torch.randint(0, 2, (8,)),
        "type": torch.randint(0, 2, (8,)),
    }
    method = METHODS[name](Backbone("resnet18"))
    full = method.losses(batch)
    sum(full.values()).backward()
    expected = gradient(method)
    method.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.losses(batch)
    sum(losses.values()).backward()
    for term, value in losses.items():  # float32, whatever the network computed in
        torch.testing.assert_close(value, full[term], rtol=0.03, atol=0.005)
    assert all(p.grad.dtype == p.dtype == torch.float32 for p in method.parameters() if p.grad is not None)
    # Another hardest example, where two are all but equal, changes the gradient of the triplet loss.
    assert F.cosine_similarity(gradient(method), expected, dim=0) > 0.8

    method.eval()
    embeddings = method(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = method(batch)
    assert mixed.dtype == torch.float32
    assert (mixed * embeddings).sum(dim=1).min() > 0.9998
