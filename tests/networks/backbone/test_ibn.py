import pytest
import torch
from torch import nn

from src.networks.backbone.ibn import InstanceBatchNorm
from src.networks.backbone.timm_backbone import Backbone


def test_normalises_the_first_half_by_image_and_the_second_by_batch():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 5, 4, 4, dtype=torch.float64)
    expected = torch.empty_like(x)
    for c in range(5):
        for b in range(3):
            values = x[b, c] if c < 2 else x[:, c]
            scaled = (x[b, c] - values.mean()) / (values.var(unbiased=False) + norm.eps).sqrt()
            expected[b, c] = scaled * norm.weight[c] + norm.bias[c]
    torch.testing.assert_close(InstanceBatchNorm(norm).double()(x), expected)


def test_takes_over_the_statistics_it_has_room_for():
    norm = nn.BatchNorm2d(4)
    norm(torch.randn(8, 4, 2, 2, generator=torch.Generator().manual_seed(1)))
    ibn = InstanceBatchNorm(norm)
    torch.testing.assert_close(ibn.BN.running_mean, norm.running_mean[2:])
    torch.testing.assert_close(ibn.BN.running_var, norm.running_var[2:])


def test_sits_in_the_first_three_stages_under_the_published_names():
    names = set(Backbone("resnet18", ibn="a").state_dict())
    for stage in (1, 2, 3):
        assert f"stages.{stage - 1}.layer{stage}.1.bn1.IN.weight" in names
        assert f"stages.{stage - 1}.layer{stage}.1.bn1.BN.running_var" in names
    assert "stages.3.layer4.0.bn1.weight" in names
    assert not any("bn2.IN" in name for name in names)


def test_belongs_to_resnets():
    with pytest.raises(ValueError, match="'mobilenetv3_small_050' is none; pass ibn=null"):
        Backbone("mobilenetv3_small_050", ibn="a")
