"""Masks made with a model of random weights."""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torchvision import models

from scripts import make_masks
from src.data.images import read_mask
from src.data.layouts import CSV
from src.data.layouts.extra import add_extra
from src.data.masks import find_masks
from src.runtime.errors import ConfigError

NAME = "lraspp_mobilenet_v3_large"


@pytest.fixture
def weights(tmp_path):
    """A state dict whose model finds cars in about half of all pixels, by colour."""
    model = models.get_model(NAME, weights=None, weights_backbone=None, num_classes=21)
    for part in (model.classifier.low_classifier, model.classifier.high_classifier):
        torch.nn.init.normal_(part.weight, std=1)
        torch.nn.init.zeros_(part.bias)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.fixture
def folder(tmp_path):
    """Three training images and one to test on."""
    root = tmp_path / "cars"
    (root / "a").mkdir(parents=True)
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 256, (40 + number, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"a/{number}.png"), image)
    lines = [f"a/{number}.png,{number},{'train' if number < 3 else 'test'}" for number in range(4)]
    (root / "table.csv").write_text("\n".join(["path,vehicle_id,split", *lines]))
    return root


def test_every_training_image_gets_the_mask_that_the_model_gives(composed, folder, weights, tmp_path):
    everything = models.get_model_weights(NAME).DEFAULT.meta["categories"]
    chosen = f"classes=[{','.join(everything[1:])}]"
    options = ("data=csv", f"data.root={folder}", f"model={NAME}", f"weights={weights}", "size=64")
    made = make_masks.run(composed(*options, chosen, config="make_masks"))
    table = CSV(folder, "cars").read()
    model, vehicles = make_masks.load_model(NAME, str(weights), everything[1:])
    for number in range(3):
        image = cv2.cvtColor(cv2.imread(str(folder / f"a/{number}.png")), cv2.COLOR_BGR2RGB)
        mask = make_masks.vehicle_mask(model.eval(), image, vehicles, 64)
        assert mask.shape == image.shape[:2]
        file = folder / f"masks/a/{number}.png"
        if mask.any():
            np.testing.assert_array_equal(read_mask(file), mask)
        assert file.is_file() == mask.any() == (f"a/{number}.png" in set(made["path"]))
    assert not (folder / "masks/a/3.png").exists()
    assert len(made) > 0
    named = find_masks(table, "masks/{path}.png")["mask"].tolist()
    assert [mask for mask in named if mask] == made["mask"].tolist()
    assert add_extra(table, tmp_path / "run/masks.csv", "cars")["mask"].tolist() == named
    assert list(pd.read_csv(tmp_path / "run/masks.csv")) == ["path", "mask"]

    kept = folder / made["mask"][0]
    kept.write_bytes(b"made elsewhere")
    make_masks.run(composed(*options, chosen, config="make_masks"))
    assert kept.read_bytes() == b"made elsewhere"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), r"Get https://download\.pytorch\.org/models/deeplabv3_resnet101.*\.pth and pass weights=<that file>"),
        (("model=unet",), r"model is 'unet', expected one of deeplabv3_mobilenet_v3_large"),
        (("weights={weights}", "classes=[lorry]"), r"classes names 'lorry', expected some of aeroplane, bicycle"),
        (
            ("weights={weights}", "model=fcn_resnet50"),
            r"weights\.pth does not fit fcn_resnet50, whose weights are",
        ),
        (("weights={weights}", f"model={NAME}"), r"Whose masks\? Pass data="),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(composed, weights, overrides, message):
    given = [override.format(weights=weights) for override in overrides]
    with pytest.raises(ConfigError, match=message):
        make_masks.run(composed(*given, config="make_masks"))
