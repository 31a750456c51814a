import pytest
import torch
from torch import nn

from src.networks.blocks.jigsaw import Jigsaw, shuffled


@pytest.mark.parametrize(
    ("count", "shift", "groups", "order"),
    [
        (8, 2, 2, [2, 6, 3, 7, 4, 0, 5, 1]),
        (9, 3, 3, [3, 6, 0, 4, 7, 1, 5, 8, 2]),
        (6, 0, 1, [0, 1, 2, 3, 4, 5]),
        (7, 1, 2, [1, 5, 2, 6, 3, 0, 4, 6]),  # the last but one of 1 2 3 4 5 6 0 once more
    ],
)
def test_the_order_of_the_patches(count, shift, groups, order):
    patches = torch.arange(count).view(1, count, 1) + torch.tensor([[[0]], [[100]]])
    assert shuffled(patches, shift, groups)[:, :, 0].tolist() == [order, [100 + i for i in order]]


def test_each_part_passes_the_layer_with_the_class_token():
    class Sums(nn.Module):
        def forward(self, tokens):
            return tokens.cumsum(dim=1).flip(1)  # of the first token: all of them

    prefix, patches = torch.randn(3, 2, 4).double(), torch.randn(3, 13, 4).double()
    features = Jigsaw(Sums(), shift=2, groups=2, parts=4)(prefix, patches)
    order = [*range(2, 13), 0, 1, 0]
    order = [order[i] for pair in zip(range(7), range(7, 14), strict=True) for i in pair]
    assert len(features) == 4
    for part, feature in enumerate(features):
        of_part = [patches[:, i] for i in order[3 * part : 3 * part + 3]]  # 13 patches are 4 parts of 3
        torch.testing.assert_close(feature, prefix.sum(dim=1) + sum(of_part))


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="parts is 0, expected at least 1"):
        Jigsaw(nn.Identity(), parts=0)
    with pytest.raises(ValueError, match="parts is 4, but there are only 3 patches"):
        Jigsaw(nn.Identity())(torch.zeros(1, 1, 2), torch.zeros(1, 3, 2))
