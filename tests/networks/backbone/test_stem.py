import pytest
import torch
from torch import nn

from src.networks import Backbone


@pytest.mark.parametrize(
    ("stem", "relu", "pool"),
    [
        (None, True, nn.MaxPool2d(3, stride=2, padding=1)),
        ("torchvision", True, nn.MaxPool2d(3, stride=2, padding=1)),
        ("fastreid", True, nn.MaxPool2d(3, stride=2, ceil_mode=True)),
        ("bot", False, nn.MaxPool2d(2)),
    ],
)
def test_stems_of_other_code(stem, relu, pool):
    backbone = Backbone("resnet18", stem=stem).eval()
    x = torch.randn(1, 3, 50, 38)
    normalised = backbone.stem.bn1(backbone.stem.conv1(x))
    torch.testing.assert_close(backbone.stem(x)[0], pool(normalised.relu() if relu else normalised))
    assert backbone.strides == [4, 4, 8, 16, 16]


def test_stems_belong_to_resnets():
    with pytest.raises(ValueError, match="stem is 'caffe', expected null or one of torchvision, fastreid, bot"):
        Backbone("resnet18", stem="caffe")
    with pytest.raises(ValueError, match="'mobilenetv3_small_050' is none; pass stem=null"):
        Backbone("mobilenetv3_small_050", stem="bot")
