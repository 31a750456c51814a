"""Checkpoints of TransReID's code: their network, written out with their names, and ours compute the same."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from src.checkpoints import conversion
from src.embed import Embedder
from src.methods.transreid import TransReID
from src.runtime.errors import ConfigError

WEIGHTS = "transformer_120.pth"
DIM, CLASSES, CAMERAS, VIEWS = 192, 5, 3, 8


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 3, 64).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / 8).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, DIM))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(DIM, eps=1e-6)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(DIM, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(DIM, 4 * DIM), "fc2": nn.Linear(4 * DIM, DIM)})

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Base(nn.Module):
    """The transformer; with local features it stops before its last block."""

    def __init__(self, places, side, local):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM) * 0.1)
        self.pos_embed = nn.Parameter(torch.randn(1, places + 1, DIM) * 0.1)
        if side:
            self.sie_embed = nn.Parameter(torch.randn(side, 1, DIM) * 0.1)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, DIM, 16, stride=12)})
        self.blocks = nn.ModuleList(Block() for _ in range(12))
        self.norm = nn.LayerNorm(DIM, eps=1e-6)
        self.fc = nn.Linear(DIM, 1000)
        self.local = local

    def forward(self, x, place):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        if place is not None:
            x = x + 3.0 * self.sie_embed[place]
        for block in self.blocks[:-1] if self.local else self.blocks:
            x = block(x)
        return x if self.local else self.norm(x)[:, 0]


class Network(nn.Module):
    """Their whole network, up to the features that they test with."""

    def __init__(self, places, side, local, shift_num):
        super().__init__()
        self.base = Base(places, side, local)
        self.local, self.shift_num = local, shift_num
        if local:
            self.b1 = nn.Sequential(deepcopy(self.base.blocks[-1]), deepcopy(self.base.norm))
            self.b2 = nn.Sequential(Block(), nn.LayerNorm(DIM, eps=1e-6))
        for i in range(5 if local else 1):
            ending = f"_{i}" if i else ""
            setattr(self, f"classifier{ending}", nn.Linear(DIM, CLASSES, bias=False))
            setattr(self, f"bottleneck{ending}", nn.BatchNorm1d(DIM))

    def forward(self, images, place=None):
        x = self.base((images / 255 - 0.5) / 0.5, place)
        if not self.local:
            return x
        # the shift counts the class token, which stands first
        order = [*range(self.shift_num, x.shape[1]), *range(1, self.shift_num)]
        if len(order) % 2:
            order.append(order[-2])
        half = len(order) // 2
        order = [order[i // 2 + i % 2 * half] for i in range(len(order))]
        length = (x.shape[1] - 1) // 4
        features = [self.b1(x)[:, 0]]
        for part in range(4):
            piece = x[:, [0, *order[length * part : length * (part + 1)]]]
            features.append(self.b2(piece)[:, 0] / 4)
        return torch.cat(features, dim=1)


def trained(network):
    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return network.eval()


@pytest.fixture
def convert(composed, tmp_path):
    def run(network_or_state, *overrides):
        state = network_or_state.state_dict() if isinstance(network_or_state, nn.Module) else network_or_state
        torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / WEIGHTS)
        told = (f"weights={tmp_path / WEIGHTS}", f"out={tmp_path / 'ours.ckpt'}", "method=transreid_released")
        network = ("backbone.name=vit_tiny_patch16_224", "backbone.patch_stride=12")
        return conversion.run(composed(*told, *network, *overrides, config="convert")).eval()

    return run


@pytest.mark.parametrize(
    ("size", "side", "options"),
    [
        (76, CAMERAS * VIEWS, ()),  # 36 patches
        (64, CAMERAS, ("method.side=[camera]",)),  # 25: they do not divide into two groups
        (64, 0, ()),
    ],
)
def test_with_jigsaw(convert, size, side, options):
    torch.manual_seed(1)
    theirs = trained(Network(((size - 16) // 12 + 1) ** 2, side, local=True, shift_num=8)).double()
    ours = convert(theirs.float(), f"transforms.size={size}", *options).double()
    images = torch.randint(0, 256, (3, 3, size, size)).double()
    batch, place = {"image": images}, None
    if side:
        batch |= {"camera": torch.tensor([0, 2, 1]), "view": torch.tensor([7, 0, 4])}
        place = batch["camera"] * VIEWS + batch["view"] if side > CAMERAS else batch["camera"]
        assert ours.provenance["names"]["camera"] == ["veri776 1", "veri776 2", "veri776 3"]
    with torch.no_grad():
        torch.testing.assert_close(ours.embed(batch), theirs.double()(images, place))
    torch.testing.assert_close(ours.network.necks[3].classifier.weight, theirs.classifier_3.weight)


def test_the_baseline_in_every_command(convert, tmp_path):
    torch.manual_seed(2)
    theirs = trained(Network(25, 0, local=False, shift_num=8))
    convert(theirs, "transforms.size=64", "data=quickstart_veri")
    embed = Embedder(tmp_path / "ours.ckpt")
    assert isinstance(embed.method, TransReID)
    pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = F.normalize(theirs(pixels.permute(2, 0, 1)[None].float()))
    torch.testing.assert_close(torch.from_numpy(embed(pixels.numpy())), expected, atol=1e-5, rtol=1e-4)


def test_what_does_not_fit(convert):
    network = Network(25, 20, local=False, shift_num=8)
    with pytest.raises(ConfigError, match=r"has 20 embeddings .* method\.side=\['camera', 'view'\] does not explain"):
        convert(network, "transforms.size=64")
    with pytest.raises(
        ValueError, match=r"for images of 76 pixels with a patch every 12: 1 of another shape \(.*pos_embed \(1, 26"
    ):
        convert(network, "transforms.size=76", "method.side=[camera]")
    with pytest.raises(ConfigError, match=r"no name begins with base\.blocks\.; pass method=bot"):
        convert({"base.layer1.0.conv1.weight": torch.zeros(1), "classifier.weight": torch.zeros(2, 3)})
    with pytest.raises(ConfigError, match="a checkpoint of TransReID's code; pass method=transreid_released"):
        convert(network, "method=bot", "backbone=resnet50", "backbone.patch_stride=null")
