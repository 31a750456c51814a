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
        ("dndm", True, nn.MaxPool2d(2)),
    ],
)
def test_stems_of_other_code(stem, relu, pool):
    backbone = Backbone("resnet18", stem=stem).eval()
    x = torch.randn(1, 3, 50, 38)
    normalised = backbone.stem.bn1(backbone.stem.conv1(x))
    torch.testing.assert_close(backbone.stem(x)[0], pool(normalised.relu() if relu else normalised))
    assert backbone.strides == [4, 4, 8, 16, 16]


def test_the_stem_that_dndm_prints_takes_the_largest_of_each_two_by_two():
    """Eq. 3, place by place."""
    stem = Backbone("resnet18", stem="dndm").eval().double().stem
    x = torch.randn(1, 3, 16, 24, dtype=torch.float64)
    activated, found = stem.bn1(stem.conv1(x)).relu()[0], stem(x)[0][0]
    assert found.shape == (64, 4, 6)
    for y in range(4):
        for column in range(6):
            window = activated[:, 2 * y : 2 * y + 2, 2 * column : 2 * column + 2]
            assert found[:, y, column].equal(window.amax(dim=(1, 2)))


def test_stems_belong_to_resnets():
    with pytest.raises(ValueError, match="stem is 'caffe', expected null or one of torchvision, fastreid, bot"):
        Backbone("resnet18", stem="caffe")
    with pytest.raises(ValueError, match="'mobilenetv3_small_050' is none; pass stem=null"):
        Backbone("mobilenetv3_small_050", stem="bot")
