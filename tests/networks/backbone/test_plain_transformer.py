"""Plain vision transformers: a network written out, and timm's own, compute the same."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from src.networks import Backbone
from src.networks.backbone.plain_transformer import Carried, to_map, to_tokens

TINY = "vit_tiny_patch16_224"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}  # timm resizes embeddings in float32


def images(height, width, count=2):
    return torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(1)).double()


def trained(backbone):
    """With numbers where a network starts with zeros and ones."""
    for name, parameter in backbone.named_parameters():
        if name.endswith("bias") or "token" in name or "pos_embed" in name:
            nn.init.normal_(parameter, std=0.2)
        elif parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return backbone.double().eval()


def timm_names(backbone):
    return {backbone._timm_name(name): value for name, value in backbone.state_dict().items()}


def blocks_of(backbone):
    return [block for stage in backbone.stages for block in stage.blocks]


def written_out(state, x, heads, stride, mode):
    """A vision transformer in steps: `(class token, map)` of normalised images `(B, 3, H, W)`."""
    side = 16
    rows, columns = ((length - side) // stride + 1 for length in x.shape[2:])
    weight, bias = state["patch_embed.proj.weight"].flatten(1), state["patch_embed.proj.bias"]
    patches = [
        x[:, :, stride * i : stride * i + side, stride * j : stride * j + side].flatten(1) @ weight.T + bias
        for i in range(rows)
        for j in range(columns)
    ]
    positions = state["pos_embed"]
    old = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), (rows, columns), mode=mode, antialias=mode == "bicubic")
    tokens = torch.stack(patches, dim=1) + grid.double().flatten(2).transpose(1, 2)
    first = (state["cls_token"] + positions[:, :1]).expand(len(x), -1, -1)
    x = torch.cat([first, tokens], dim=1)

    def norm(name, values):
        centred = values - values.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(name, values):
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for i in range(12):
        q, k, v = linear(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", x)).chunk(3, dim=-1)
        d = q.shape[-1] // heads
        seen = [
            (q[..., h * d : h * d + d] @ k[..., h * d : h * d + d].transpose(1, 2) / d**0.5).softmax(dim=-1)
            @ v[..., h * d : h * d + d]
            for h in range(heads)
        ]
        x = x + linear(f"blocks.{i}.attn.proj", torch.cat(seen, dim=-1))
        hidden = linear(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", x))
        x = x + linear(f"blocks.{i}.mlp.fc2", 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5)))
    x = norm("norm", x)
    return x[:, 0], x[:, 1:].transpose(1, 2).reshape(len(x), -1, rows, columns)


@pytest.mark.parametrize(("stride", "size"), [(16, (64, 96)), (12, (64, 88))])
def test_a_transformer_written_out(stride, size):
    backbone = trained(Backbone(TINY, patch_stride=stride))
    assert backbone.strides == [stride] * 5
    x = images(*size)
    with torch.no_grad():
        token, expected = written_out(timm_names(backbone), backbone.normalise(x), 3, stride, "bicubic")
        features, carried = backbone.features(x)
    torch.testing.assert_close(features, expected, **CLOSE)
    torch.testing.assert_close(carried.prefix[:, 0], token, **CLOSE)


@pytest.mark.parametrize("source", ["the network's own", "a file"])
def test_embeddings_resized_once_are_parameters_of_the_new_size(tmp_path, source):
    plain = trained(Backbone(TINY))
    torch.save(timm_names(plain) | {"head.weight": torch.zeros(5, 192)}, tmp_path / "vit.pth")
    if source == "a file":  # for a grid of 14 × 14, and with a classifier
        backbone = Backbone(TINY, weights=tmp_path / "vit.pth", image_size=64, patch_stride=12).double().eval()
    else:
        backbone = Backbone(TINY, weights=tmp_path / "vit.pth", patch_stride=12).double().eval()
        backbone.stem.use_size((64, 64))
    assert backbone.stem.model.pos_embed.shape == (1, 1 + 5 * 5, 192)
    x = images(64, 64)
    with torch.no_grad():
        _, expected = written_out(timm_names(plain), backbone.normalise(x), 3, 12, "bilinear")
        torch.testing.assert_close(backbone(x), expected, **CLOSE)


@pytest.mark.parametrize(
    ("name", "prefix", "size"),
    [
        ("vit_small_patch16_dinov3", 5, 64),
        ("vit_small_patch14_reg4_dinov2", 5, 56),
        ("eva02_tiny_patch14_224", 1, 56),
        ("vit_small_patch16_rope_mixed_224", 1, 64),
        ("deit_tiny_distilled_patch16_224", 2, 64),
        ("vit_medium_patch16_gap_256", 0, 64),
        ("vit_xsmall_patch16_clip_224", 1, 64),
    ],
)
def test_timms_own_features(name, prefix, size):
    torch.manual_seed(2)
    backbone = Backbone(name).eval()
    model = timm.create_model(name, num_classes=0, dynamic_img_size=True).eval()
    model.load_state_dict(timm_names(backbone))
    x = images(size, size, 1).float()
    with torch.no_grad():
        expected = model.fc_norm(model.forward_features(backbone.normalise(x)))
        features, carried = backbone.features(x)
    torch.testing.assert_close(to_tokens(features, carried), expected, atol=1e-4, rtol=1e-4)
    assert (0 if carried.prefix is None else carried.prefix.shape[1]) == prefix
    assert backbone.has_class_token == (prefix > 0)
    means = [255 * value for value in model.pretrained_cfg["mean"]]
    assert backbone.mean.flatten().tolist() == pytest.approx(means)


def test_distilled_weights_without_their_token(tmp_path):
    distilled = timm.create_model("deit_tiny_distilled_patch16_224")
    nn.init.normal_(distilled.pos_embed)
    torch.save({"model": distilled.state_dict()}, tmp_path / "deit.pth")
    model = Backbone("deit_tiny_patch16_224", weights=tmp_path / "deit.pth").stem.model
    torch.testing.assert_close(model.pos_embed[:, 0], distilled.pos_embed[:, 0])
    torch.testing.assert_close(model.pos_embed[:, 1:], distilled.pos_embed[:, 2:])
    both = Backbone("deit_tiny_distilled_patch16_224", weights=tmp_path / "deit.pth").stem.model
    torch.testing.assert_close(both.dist_token, distilled.dist_token)


def test_four_stages_over_a_map_that_may_be_changed_on_the_way():
    backbone = trained(Backbone(TINY))
    x, carried = backbone.begin(images(48, 64))
    tokens = to_tokens(x, carried)
    assert x.shape == (2, 192, 3, 4)
    assert [len(stage.blocks) for stage in backbone.stages] == [3, 3, 3, 3]
    with torch.no_grad():
        for number, stage in enumerate(backbone.stages):
            x, carried = stage(x, carried)
            if number == 0:
                x = 2 * x
        for i, block in enumerate(blocks_of(backbone)):
            tokens = block(tokens)
            if i == 2:
                tokens = torch.cat([tokens[:, :1], 2 * tokens[:, 1:]], dim=1)
        expected = backbone.stages[-1].normalise(tokens)
    torch.testing.assert_close(to_tokens(x, carried), expected)


def test_a_map_and_its_tokens_undo_each_other():
    carried = Carried(torch.randn(2, 3, 5))
    x = torch.randn(2, 5, 4, 6)
    again, beside = to_map(to_tokens(x, carried), carried, (4, 6))
    torch.testing.assert_close(again, x)
    torch.testing.assert_close(beside.prefix, carried.prefix)


def gradients(backbone, x):
    torch.manual_seed(7)
    backbone(x).square().mean().backward()
    return {name: parameter.grad for name, parameter in backbone.named_parameters()}


@pytest.mark.parametrize("name", [TINY, "convnext_atto", pytest.param("hiera_tiny_224", marks=pytest.mark.slow)])
def test_blocks_computed_again_give_the_same_gradients(name):
    arguments = {"name": name, "drop_path": 0.3, "last_stride": 1 if name == TINY else 2}
    kept, again = Backbone(**arguments).double(), Backbone(**arguments, checkpointing=True).double()
    again.load_state_dict(kept.state_dict())
    x = images(32, 32, 3)
    torch.testing.assert_close(gradients(again, x), gradients(kept, x))


def test_stochastic_depth_grows_with_depth():
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks_of(Backbone(TINY, drop_path=0.22))]
    assert rates == pytest.approx([0.02 * i for i in range(12)])
    assert not any(isinstance(module, timm.layers.DropPath) for module in Backbone(TINY).modules())


def test_frozen_blocks_neither_learn_nor_drop():
    backbone = Backbone(TINY, drop_path=0.2, frozen_blocks=4).train()
    learning = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[2] for name in learning} == {*(f"blocks_{i}" for i in range(4, 12)), "norm"}
    assert [block.training for block in blocks_of(backbone)] == [False] * 4 + [True] * 8
    assert not backbone.stem.training


def test_frozen_blocks_of_a_resnet_keep_their_statistics():
    backbone = Backbone("resnet18", frozen_blocks=3).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(images(32, 32).float())
    moved = {name.rpartition(".")[0] for name, value in backbone.state_dict().items() if not value.equal(before[name])}
    assert not [name for name in moved if name.startswith(("stem", "stages.0", "stages.1.layer2.0"))]
    assert [name for name in moved if name.startswith("stages.1.layer2.1")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"last_stride": 2}, "all have one resolution; pass last_stride=1"),
        ({"patch_stride": 17}, "patch_stride is 17, expected 1 to 16"),
        ({"image_size": 8}, r"image_size is \[8, 8\], smaller than a patch"),
        ({"frozen_blocks": 13}, "frozen_blocks is 13, expected 0 to 12"),
        ({"ibn": "a"}, "belongs to ResNets"),
        ({"name": "resnet18", "patch_stride": 12}, "patch_stride belongs to plain vision transformers"),
        ({"name": "resnet18", "image_size": 64}, "Nothing in backbone 'resnet18' depends on the size"),
        ({"name": "resnet18", "checkpointing": True}, "has batch normalisation"),
        ({"name": "densenet121", "drop_path": 0.1, "last_stride": 2}, "has no stochastic depth"),
    ],
)
def test_what_does_not_fit_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        Backbone(**{"name": TINY} | arguments)
