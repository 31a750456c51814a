"""Galleries without plates and faces: what is embedded, shown and kept is blurred."""

import shutil

import numpy as np
import pandas as pd
import pytest

from src import index as command_index
from src.data import DataError, read_image
from src.data.blurring import blurred
from src.embed import Embedder
from src.gallery import Gallery, blurred_copies, build, change_run
from src.gallery.blurred_copies import boxes_of
from src.gallery.living import LivingGallery
from src.runtime.errors import ConfigError
from src.video.onnx_detector import ONNXDetector


@pytest.fixture
def cars(quickstart, tmp_path):
    folder = tmp_path / "cars"
    folder.mkdir()
    for number, image in enumerate(sorted((quickstart / "day").rglob("*.jpg"))[:4]):
        shutil.copy(image, folder / f"{number}.jpg")
    pd.DataFrame({"path": ["1.jpg", "1.jpg", "2.jpg"], "box": ["5 5 20 15", "30 30 60 50", "0 0 10 10"]}).to_csv(
        tmp_path / "boxes.csv", index=False
    )
    return folder


@pytest.fixture
def index(composed, untrained, tmp_path, cars):
    checkpoint, out = untrained("method=bot", "transforms.size=64"), tmp_path / "gallery"

    def run(*overrides):
        cfg = composed(f"out={out}", "workers=1", "device=cpu", *overrides, config="index")
        find = None if cfg.blur is None else command_index.what_to_blur(cfg)
        (change_run if change_run.changes_asked(cfg) else build).run(cfg, find)
        return Gallery.open(out)

    run.checkpoint, run.out, run.boxes = checkpoint, out, tmp_path / "boxes.csv"
    return run


def names(gallery):
    return [path.rpartition("/")[2] for path in gallery.table["path"]]


def test_blurred_pictures_are_embedded_shown_and_kept(index, cars, monkeypatch):
    build_it = (f"checkpoint={index.checkpoint}", f"images={cars}", f"blur={index.boxes}")
    gallery = index(*build_it)
    assert names(gallery) == [f"{n}.jpg.png" for n in range(4)]
    boxes = {1: [(5, 5, 20, 15), (30, 30, 60, 50)], 2: [(0, 0, 10, 10)]}
    expected = [blurred(read_image(cars / f"{n}.jpg"), boxes.get(n, [])) for n in range(4)]
    for row in range(4):
        np.testing.assert_array_equal(gallery.image(row), expected[row])
    assert abs(gallery.features - Embedder(index.checkpoint, device="cpu")(expected)).max() < 1e-5
    written = []
    monkeypatch.setattr(blurred_copies, "write_atomically", lambda path, content: written.append(path))
    index(*build_it)
    assert not written  # they are there
    monkeypatch.undo()
    # What comes later is blurred too, or refused; what is deleted leaves no copy.
    with pytest.raises(ConfigError, match=r"are blurred; pass blur=… with add= too"):
        index(f"add={cars}")
    with pytest.raises(ConfigError, match=r"are blurred; pass blur=… again"):
        index(*build_it[:2])
    with pytest.raises(ConfigError, match="has blurred pictures, which watch= cannot make"):
        LivingGallery(gallery, index.out, Embedder(index.checkpoint, device="cpu"), cars)
    shutil.copy(cars / "0.jpg", cars / "4.jpg")
    assert names(index(f"add={cars}", f"blur={index.boxes}"))[4:] == ["4.jpg.png"]
    index("delete.path='*/2.jpg.png'")
    assert sorted(path.name for path in (index.out / "images").rglob("*.png")) == [f"{n}.jpg.png" for n in (0, 1, 3, 4)]
    (cars / "1.jpg").unlink()
    assert names(index(*build_it)) == [f"{n}.jpg.png" for n in (0, 3, 4, 2)]
    assert not [*(index.out / "images").rglob("1.jpg.png")]


def test_what_a_detector_finds_is_blurred(composed, monkeypatch, tmp_path):
    class Finder:
        def __call__(self, images):
            boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.float32)
            found = type("Found", (), {"boxes": boxes, "scores": np.array([0.9, 0.2], dtype=np.float32)})
            return [found] * len(images)

    said = {}

    def made(path, **options):
        said.update(options, path=path)
        return Finder()

    monkeypatch.setattr(ONNXDetector, "__new__", lambda _, path, **options: made(path, **options))
    cfg = composed("out=o", "blur=plates.onnx", "blur_names=[plate,face]", "device=cpu", config="index")
    find = command_index.what_to_blur(cfg)
    assert find("a.jpg", np.zeros((9, 9, 3), dtype=np.uint8)) == [(1, 2, 3, 4)]  # the other scores too little
    assert said["names"] == ["plate", "face"]
    with pytest.raises(ConfigError, match=r"needs blur_names=\[plate,face\]"):
        command_index.what_to_blur(composed("out=o", "blur=plates.onnx", config="index"))


def test_wrong_boxes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="is no file; pass a CSV file of path and box, or an ONNX detector"):
        boxes_of(tmp_path / "nowhere.csv")
    (tmp_path / "boxes.csv").write_text("path,box\n1.jpg,5 5 20\n")
    with pytest.raises(DataError, match="box"):
        boxes_of(tmp_path / "boxes.csv")
    (tmp_path / "boxes.csv").write_text("path,box\n1.jpg,5 5 20 30\n2.jpg,\n")
    assert boxes_of(tmp_path / "boxes.csv")("1.jpg", np.zeros((1, 1, 3), np.uint8)) == [(5, 5, 20, 30)]
    assert boxes_of(tmp_path / "boxes.csv")("2.jpg", np.zeros((1, 1, 3), np.uint8)) == []
