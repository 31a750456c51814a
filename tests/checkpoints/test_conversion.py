"""Checkpoints of other people's code: their networks, written out with their names, and ours compute the same."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from src.checkpoints import conversion as converting
from src.checkpoints.checkpoint_file import load_checkpoint
from src.data.transforms.highlights import released_glare_mask
from src.embed import Embedder
from src.networks import Backbone, ReleasedDNDM
from src.networks.dndm_released import NAMES
from src.runtime.errors import ConfigError

WEIGHTS = "theirs.pth"


class IBN(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.half = planes // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(planes - self.half)

    def forward(self, x):
        first, second = torch.split(x, self.half, 1)
        return torch.cat((self.IN(first.contiguous()), self.BN(second.contiguous())), 1)


class Block(nn.Module):
    """A residual block: of two convolutions, or of three with the stride in the second."""

    def __init__(self, inplanes, planes, expansion, ibn, stride):
        super().__init__()
        self.bottleneck = expansion == 4
        first = {"kernel_size": 1} if self.bottleneck else {"kernel_size": 3, "stride": stride, "padding": 1}
        self.conv1 = nn.Conv2d(inplanes, planes, bias=False, **first)
        self.bn1 = IBN(planes) if ibn else nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride if self.bottleneck else 1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        if self.bottleneck:
            self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = None
        if stride != 1 or inplanes != planes * expansion:
            shortcut = nn.Conv2d(inplanes, planes * expansion, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(planes * expansion))

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.bottleneck:
            out = self.bn3(self.conv3(out.relu()))
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


class NonLocal(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.g = nn.Conv2d(channels, 1, 1)
        self.W = nn.Sequential(nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels))
        self.theta = nn.Conv2d(channels, 1, 1)
        self.phi = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        g, theta, phi = (layer(x).flatten(2) for layer in (self.g, self.theta, self.phi))
        pairs = theta.transpose(1, 2) @ phi / phi.shape[2]
        return self.W((pairs @ g.transpose(1, 2)).transpose(1, 2).reshape(len(x), 1, *x.shape[2:])) + x


class ResNet(nn.Module):
    """That of IBN-Net, of fast-reid and of reid-strong-baseline, which differ in the stem; two blocks a stage."""

    def __init__(self, pool, relu=True, expansion=1, ibn=False, last_stride=1, non_local=(0, 0, 0, 0)):
        super().__init__()
        self.non_local = non_local
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.maxpool = pool
        inplanes = 64
        for s, (planes, stride) in enumerate(((64, 1), (128, 2), (256, 2), (512, last_stride)), start=1):
            first = Block(inplanes, planes, expansion, ibn and s < 4, stride)
            inplanes = planes * expansion
            setattr(self, f"layer{s}", nn.Sequential(first, Block(inplanes, planes, expansion, ibn and s < 4, 1)))
            setattr(self, f"NL_{s}", nn.ModuleList(NonLocal(inplanes) for _ in range(non_local[s - 1])))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for s in (1, 2, 3, 4):
            behind = [*getattr(self, f"NL_{s}")]
            for i, block in enumerate(getattr(self, f"layer{s}")):
                x = block(x)
                if i >= 2 - self.non_local[s - 1]:
                    x = behind.pop(0)(x)
        return x


class GeM(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = nn.Parameter(torch.ones(1) * p)

    def forward(self, x):
        return F.adaptive_avg_pool2d(x.clamp(min=1e-6).pow(self.p), 1).pow(1 / self.p)


class FastReID(nn.Module):
    """Baseline with its EmbeddingHead."""

    def __init__(self, backbone, dim, pool_layer, classes=7):
        super().__init__()
        self.backbone = backbone
        self.heads = nn.Module()
        self.heads.pool_layer = pool_layer
        self.heads.bottleneck = nn.Sequential(nn.BatchNorm2d(dim))
        self.heads.weight = nn.Parameter(torch.randn(classes, dim))
        self.register_buffer("pixel_mean", torch.tensor([120.0, 110, 100]).view(1, -1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor([50.0, 60, 70]).view(1, -1, 1, 1))

    def forward(self, images):
        maps = self.backbone((images - self.pixel_mean) / self.pixel_std)
        return self.heads.bottleneck(self.heads.pool_layer(maps))[..., 0, 0]


class StrongBaseline(nn.Module):
    """That of Luo et al. and of DMT."""

    def __init__(self, base, dim, classes=7):
        super().__init__()
        self.base = base
        self.bottleneck = nn.BatchNorm1d(dim)
        self.classifier = nn.Linear(dim, classes, bias=False)

    def forward(self, images):
        mean, std = ([[[v]] for v in values] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        maps = self.base((images / 255 - torch.tensor(mean)) / torch.tensor(std))
        return self.bottleneck(F.avg_pool2d(maps, maps.shape[2:4]).flatten(1))


def trained(network):
    """With numbers in all normalisations, as training leaves them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return network.eval()


@pytest.fixture
def convert(composed, tmp_path):
    def run(state, *overrides):
        torch.save(state, tmp_path / WEIGHTS)
        said = (f"weights={tmp_path / WEIGHTS}", f"out={tmp_path / 'ours.ckpt'}", *overrides)
        return converting.run(composed(*said, config="convert")).eval()

    return run


def same(ours, theirs):
    """Their features and ours of images of an odd size."""
    images = torch.randint(0, 256, (2, 3, 75, 62)).double()
    with torch.no_grad():
        torch.testing.assert_close(ours.double().embed({"image": images}), theirs.double()(images))


def test_fast_reid_with_ibn_non_local_gem_and_its_pixels(convert):
    backbone = ResNet(nn.MaxPool2d(3, 2, ceil_mode=True), expansion=4, ibn=True, non_local=(0, 1, 2, 0))
    theirs = trained(FastReID(backbone, 2048, GeM(2.5)))
    saved = {"model": theirs.state_dict(), "scheduler": {"milestones": Counter([40, 90])}, "metric": np.float64(0.8)}
    said = ("backbone=resnet50_ibn_a", "backbone.name=resnet26", "backbone.stem=fastreid")
    ours = convert(saved, *said, "method.pooling=gem")
    same(ours, theirs)
    torch.testing.assert_close(ours.neck.classifier.weight, theirs.heads.weight.detach())


def test_fast_reid_of_old_with_a_fixed_exponent(convert):
    theirs = trained(FastReID(ResNet(nn.MaxPool2d(3, 2, padding=1), last_stride=2), 512, GeM(3)))
    state = {
        name.replace("bottleneck.0", "bnneck").replace("heads.weight", "heads.classifier.weight"): value
        for name, value in theirs.state_dict().items()
        if name != "heads.pool_layer.p"
    }
    said = ("backbone.name=resnet18", "backbone.stem=torchvision", "backbone.last_stride=2")
    same(convert(state, *said, "method.pooling=gem"), theirs)
    with pytest.raises(
        ValueError, match=r"fast-reid, does not fit method=bot on a resnet18-ibn-a: \d+ missing .*bn1\.IN"
    ):
        convert(state, *said, "backbone.ibn=a")


def test_reid_strong_baseline_in_every_command(convert, tmp_path):
    theirs = trained(StrongBaseline(ResNet(nn.MaxPool2d(2), relu=False), 512))
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    state["module.arcface.weight"] = state.pop("module.classifier.weight")
    convert(state, "backbone.name=resnet18", "backbone.stem=bot", "transforms.size=64", "data=quickstart_veri")
    embed = Embedder(tmp_path / "ours.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = F.normalize(theirs(torch.from_numpy(image).permute(2, 0, 1)[None].float()))
    np.testing.assert_allclose(embed(image), expected, atol=1e-5)
    same(embed.method, theirs)
    said = load_checkpoint(tmp_path / "ours.ckpt")["reid"]
    assert said["labels"] == [[WEIGHTS, number] for number in range(7)]
    assert said["config"]["data"]["name"] == "quickstart_veri"
    assert not {"weights", "out"} & said["config"].keys()


def test_ibn_net_as_a_backbone(tmp_path):
    theirs = trained(ResNet(nn.MaxPool2d(3, 2, padding=1), ibn=True, last_stride=2))
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    state |= {"module.fc.weight": torch.zeros(1000, 512), "module.fc.bias": torch.zeros(1000)}
    torch.save({"state_dict": state, "epoch": 90}, tmp_path / WEIGHTS)
    ours = Backbone("resnet18", weights=tmp_path / WEIGHTS, last_stride=2, ibn="a").eval().double()
    images = torch.randint(0, 256, (2, 3, 75, 62)).double()
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.double()(ours.normalise(images)))


def test_dndm_of_its_authors(convert, tmp_path, caplog):
    caplog.set_level("INFO")
    network = trained(ReleasedDNDM(Backbone("resnet18"), 4))
    state = {}
    for name, value in network.state_dict().items():
        theirs = next(t for t, ours in NAMES.items() if name.startswith(ours))
        state[theirs + name.removeprefix(NAMES[theirs])] = value
    unused = {"thermal_module.kernel": torch.ones(1, 1, 3, 3), "NL_2.0.g.0.bias": torch.zeros(1)}
    saved = {"net": state | unused, "cmc": np.ones(3), "epoch": 80}
    convert(saved, "method=dndm_released", "backbone.name=resnet18", "transforms.size=64")
    assert "Left out, as their own network does not use them: thermal_module.kernel, NL_2.0.g.0.bias" in caplog.text
    embed = Embedder(tmp_path / "ours.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    mask = torch.from_numpy(released_glare_mask(image))[None, None]
    with torch.no_grad():
        expected = F.normalize(network(pixels, torch.tensor([1]), glare=mask).pooled)
    np.testing.assert_allclose(embed(image, domain="night"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("heads.pool_layer.p", r"learnt exponent of its pooling .*; pass method\.pooling=gem"),
        (
            "backbone.layer1.0.se.fc.0.weight",
            r"has squeeze-and-excitation blocks \(backbone.*\), which no network here",
        ),
        ("heads.bottleneck.1.weight", "has a layer that reduces the feature's dimensions"),
    ],
)
def test_parts_that_the_network_lacks(convert, name, message):
    state = {"backbone.layer1.0.conv1.weight": torch.zeros(1), "heads.weight": torch.zeros(2, 3)}
    with pytest.raises(ConfigError, match=message):
        convert(state | {name: torch.zeros(1)}, "backbone.stem=fastreid")


def test_files_of_unknown_origin(convert):
    with pytest.raises(ConfigError, match=r"has no classifier, expected one of classifier\.weight"):
        convert({"layer1.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(
        ConfigError, match=r"is no checkpoint of fast-reid or reid-strong-baseline: no name begins with"
    ):
        convert({"layer1.0.conv1.weight": torch.zeros(1), "classifier.weight": torch.zeros(2, 3)})
    with pytest.raises(ConfigError, match=r"does not say what its stem is like; pass backbone\.stem=torchvision"):
        convert({"base.layer1.0.conv1.weight": torch.zeros(1), "classifier.weight": torch.zeros(2, 3)})
    with pytest.raises(ConfigError, match="No other code base is known to have VehicleNet; pass method=bot"):
        convert({"classifier.weight": torch.zeros(2, 3)}, "method=vehiclenet")
    with pytest.raises(ValueError, match=r"holds Python objects .* save its state dict alone"):
        convert({"model": nn.Linear(1, 1)})
