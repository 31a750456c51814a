"""Swin and Hiera, whose maps timm keeps in rows or in windows, as stages over maps."""

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from src.networks import Backbone

SWIN = "swin_tiny_patch4_window7_224"


def twin(backbone, **options):
    """timm's own network with the backbone's weights."""
    state = {backbone._timm_name(name): value for name, value in backbone.state_dict().items()}
    model = timm.create_model(backbone.name, num_classes=0, **options)
    if "pos_embed" in state and state["pos_embed"].ndim == 3:
        state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], model.tokens_spatial_shape, num_prefix_tokens=0)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("head.") for name in missing)
    return model.eval()


@pytest.mark.parametrize("size", [(64, 96), (72, 60)])
def test_swin_over_any_size(size):
    torch.manual_seed(1)
    backbone = Backbone(SWIN, last_stride=2).eval()
    assert (backbone.staged, backbone.channels) == (True, [96, 96, 192, 384, 768])
    assert backbone.strides == [4, 4, 8, 16, 32]
    x = torch.rand(2, 3, *size) * 255
    model = twin(backbone, dynamic_img_size=True)
    with torch.no_grad():
        expected = model.forward_intermediates(backbone.normalise(x), norm=True, intermediates_only=True)
        maps, carried = [], None
        x, carried = backbone.begin(x)
        for stage in backbone.stages:
            x, carried = stage(x, carried)
            maps.append(x)
    torch.testing.assert_close(maps[-1], expected[-1])
    assert [m.shape for m in maps] == [m.shape for m in expected]


def test_swins_windows_grow_with_the_images():
    backbone = Backbone(SWIN, last_stride=2, image_size=256).eval()
    blocks = [module for module in backbone.modules() if type(module).__name__ == "SwinTransformerBlock"]
    assert {block.window_size for block in blocks} == {(8, 8)}
    x = torch.rand(1, 3, 256, 256) * 255
    model = twin(backbone, dynamic_img_size=True, img_size=256, window_size=8)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x).permute(0, 2, 3, 1), model.forward_features(backbone.normalise(x)))


@pytest.mark.parametrize("name", ["hiera_tiny_224", "hiera_small_abswin_256"])
def test_hiera_over_any_size(name):
    torch.manual_seed(2)
    backbone = Backbone(name, last_stride=2).eval()
    assert (backbone.staged, backbone.strides) == (True, [4, 4, 8, 16, 32])
    for module in (backbone.stem.model.pos_embed, backbone.stem.model.pos_embed_win):
        if module is not None:
            torch.nn.init.normal_(module, std=0.3)
    x = torch.rand(2, 3, 64, 96) * 255
    model = twin(backbone, img_size=(64, 96))
    with torch.no_grad():
        expected = model.forward_intermediates(backbone.normalise(x), intermediates_only=True)
        maps = []
        x, carried = backbone.begin(x)
        for stage in backbone.stages:
            x, carried = stage(x, carried)
            maps.append(x)
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match=r"sides are multiples of \[32, 32\]"):
        backbone(torch.zeros(1, 3, 64, 80))
