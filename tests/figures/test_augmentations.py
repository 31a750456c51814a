import cv2
import numpy as np
import pytest

from scripts import augmentations
from src.figures.augmentations import draw_augmentations


def test_every_image_has_its_place(tmp_path):
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    images = {name: np.full((8, 12, 3), colour, dtype=np.uint8) for name, colour in colours.items()}
    draw_augmentations({"one": images, "other": {"red": images["red"]}}, tmp_path / "folder/out.png")
    drawn = cv2.imread(str(tmp_path / "folder/out.png"))[..., ::-1]
    counts = {name: (drawn == colour).all(axis=2).sum() for name, colour in colours.items()}
    assert counts["green"] > 1000
    assert counts["blue"] == pytest.approx(counts["green"], rel=0.05)
    assert counts["red"] == pytest.approx(2 * counts["green"], rel=0.05)


def test_the_picture_of_the_documentation_can_be_drawn_again(tmp_path, quickstart_veri, monkeypatch):
    out = tmp_path / "out.png"
    monkeypatch.setattr("sys.argv", ["augmentations", str(quickstart_veri), "--out", str(out)])
    augmentations.main()
    assert cv2.imread(str(out)).std() > 20
