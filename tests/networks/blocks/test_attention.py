"""AttentionNet against the paper's formulas written out place by place."""

import math

import pytest
import torch
from torch import nn

from src.networks import AttentionNet
from src.networks.blocks.attention import ChannelAttention, SpatialAttention, mean_and_max


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def channel_gates(module, x):
    """The gates of every image, channel by channel."""
    first, _, second = module.mlp

    def layer(linear, vector):
        biases = [0.0] * len(linear.weight) if linear.bias is None else linear.bias.tolist()
        return [float(row @ vector) + b for row, b in zip(linear.weight, biases, strict=True)]

    def mlp(vector):
        return layer(second, torch.tensor([max(0.0, value) for value in layer(first, vector)]))

    gates = []
    for image in x:
        average = torch.tensor([float(c.sum()) / c.numel() for c in image])
        largest = torch.tensor([max(c.flatten().tolist()) for c in image])
        gates.append([sigmoid(a + b) for a, b in zip(mlp(average), mlp(largest), strict=True)])
    return torch.tensor(gates)[..., None, None]


def spatial_gates(module, x):
    weight, side = module.conv.weight[0], module.conv.weight.shape[-1] // 2
    gates = torch.zeros(len(x), 1, *x.shape[2:])
    for image, gate in zip(x, gates, strict=True):
        layers = image.amax(dim=0), image.mean(dim=0)
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                total = 0.0
                for layer, kernel in zip(layers, weight, strict=True):
                    for di in range(-side, side + 1):
                        for dj in range(-side, side + 1):
                            if 0 <= i + di < x.shape[2] and 0 <= j + dj < x.shape[3]:
                                total += float(layer[i + di, j + dj] * kernel[di + side, dj + side])
                gate[0, i, j] = sigmoid(total)
    return gates


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_gates_are_those_of_the_paper(bias):
    x = torch.randn(2, 32, 5, 4)
    channel, spatial = ChannelAttention(32, bias), SpatialAttention()
    assert channel.mlp[0].out_features == 2  # C / 16
    torch.testing.assert_close(channel(x), channel_gates(channel, x))
    torch.testing.assert_close(spatial(x), spatial_gates(spatial, x))


@pytest.mark.parametrize("placement", ["channel", "spatial", "channel_spatial", "spatial_channel", "parallel"])
@torch.no_grad()
def test_placements(placement):
    x = torch.randn(2, 16, 4, 4)
    net = AttentionNet(16, placement)
    expected = {
        "channel": lambda: x * net.channel(x),
        "spatial": lambda: x * net.spatial(x),
        "channel_spatial": lambda: (x * net.channel(x)) * net.spatial(x * net.channel(x)),
        "spatial_channel": lambda: (x * net.spatial(x)) * net.channel(x * net.spatial(x)),
        "parallel": lambda: x * net.channel(x) * net.spatial(x),
    }[placement]()
    torch.testing.assert_close(net(x), expected)
    almost, gate = net.apart(x)
    assert (gate is None) == (placement in ("channel", "spatial_channel"))
    torch.testing.assert_close(almost if gate is None else almost * gate, expected)
    used = {name.partition(".")[0] for name in net.state_dict()}
    assert used == ({placement} if placement in ("channel", "spatial") else {"channel", "spatial"})


@pytest.mark.parametrize("dim", [(1,), (2, 3)])
def test_average_and_maximum_have_the_gradient_of_both(dim):
    x = torch.randint(-2, 3, (3, 4, 5, 6)).double().requires_grad_()  # with many equal maxima
    found, plain = mean_and_max(x, dim), (x.mean(dim), x.amax(dim))
    torch.testing.assert_close(found, plain)
    weights = [torch.randn(value.shape, dtype=torch.float64) for value in plain]
    of_found, of_plain = (
        torch.autograd.grad(sum((w * v).sum() for w, v in zip(weights, values, strict=True)), x)
        for values in (found, plain)
    )
    torch.testing.assert_close(of_found, of_plain)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mean_and_max(x, dim), x)


@torch.no_grad()
def test_gates_are_the_same_in_training_and_at_test():
    net = AttentionNet(16)
    x = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(net.train()(x), net.eval()(x))


def test_attention_as_printed_has_no_biases():
    assert [name for name, _ in AttentionNet(16, bias=False).named_parameters() if name.endswith("bias")] == []
    assert len([name for name, _ in AttentionNet(16).named_parameters() if name.endswith("bias")]) == 2


@torch.no_grad()
def test_reduction_and_kernel_are_those_asked_for():
    x = torch.randn(2, 16, 5, 4)
    net = AttentionNet(16, "parallel", reduction=4, kernel=3)
    assert net.channel.mlp[0].out_features == 4
    assert net.spatial.conv.weight.shape == (1, 2, 3, 3)
    torch.testing.assert_close(net(x), x * channel_gates(net.channel, x) * spatial_gates(net.spatial, x))
    with pytest.raises(ValueError, match="attention_kernel is 4, expected an odd number"):
        AttentionNet(16, kernel=4)


def test_few_channels_still_have_a_hidden_layer():
    assert isinstance(ChannelAttention(3).mlp[0], nn.Linear)
    assert ChannelAttention(3).mlp[0].out_features == 1
    with pytest.raises(ValueError, match="attention is 'both'"):
        AttentionNet(8, "both")
