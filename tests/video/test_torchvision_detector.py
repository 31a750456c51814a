"""Torchvision's detectors by name."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from src.runtime.errors import ConfigError
from src.video.torchvision_detector import TorchvisionDetector

NAME = "ssdlite320_mobilenet_v3_large"


def test_weights_come_from_a_file(tmp_path):
    model = torchvision.models.get_model(NAME, weights=None, weights_backbone=None, num_classes=91).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    detector = TorchvisionDetector(NAME, weights=tmp_path / "w.pth", device="cpu")
    assert detector.names[3] == "car"
    assert "traffic_light" in detector.names
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    (found,) = detector([image])
    with torch.inference_mode():
        (expected,) = model([torch.from_numpy(image).permute(2, 0, 1) / 255])
    np.testing.assert_allclose(found.boxes, expected["boxes"].numpy(), rtol=1e-5)
    np.testing.assert_array_equal(found.classes, expected["labels"].numpy())
    torch.save({"nothing": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"w\.pth are not those of ssdlite320"):
        TorchvisionDetector(NAME, weights=tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="is not there"):
        TorchvisionDetector(NAME, weights=tmp_path / "nowhere.pth")


def test_without_a_network_the_address_is_said(monkeypatch):
    def offline(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(ConfigError, match=r"cannot be downloaded \(no network\); fetch https://.*pass weights="):
        TorchvisionDetector(NAME)


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"detector is 'yolo', expected an ONNX file \(\*\.onnx\) or one of"):
        TorchvisionDetector("yolo")
    with pytest.raises(ConfigError, match=f"did you mean '{NAME}'"):
        TorchvisionDetector(NAME[:-1])
