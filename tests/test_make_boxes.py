"""Boxes made with a detector that finds what is red."""

import json
from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
import pytest

from scripts import make_boxes
from src.data import read_image
from src.data.layouts import CSV, VeRi776
from src.data.layouts.extra import add_extra
from src.runtime.errors import ConfigError
from src.video.detections import Detections, Selection
from src.video.detectors import make_detector
from tests.video.conftest import shared  # noqa: F401

RED = (220, 30, 30)


class Reds:
    """Finds red areas as cars, in pixels; the score is the area's share of the image."""

    names = ("person", "car", "motorcycle", "bus", "truck")

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.seen += len(images)
        return [self._one(image) for image in images]

    def _one(self, image):
        red = ((image[..., 0] > 150) & (image[..., 1] < 90)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(red)
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist()], np.float32).reshape(-1, 4)
        scores = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) / red.size
        return Detections(boxes, 0.5 + scores.astype(np.float32) / 2, np.ones(len(boxes), np.int64))


def picture(*boxes, size=(60, 100)):
    image = np.zeros((*size, 3), np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = RED
    return image[..., ::-1]


PICTURES = {
    "one": picture((10, 5, 70, 50)),
    "whole": picture((0, 0, 100, 60)),
    "none": picture(),
    "small": picture((10, 5, 20, 10)),
    "two": picture((0, 0, 35, 60), (45, 20, 75, 45)),
}


@pytest.fixture
def cars(tmp_path):
    """Images of each kind, one with a box of its own, and a damaged one."""
    root = tmp_path / "cars"
    root.mkdir()
    for name, image in [*PICTURES.items(), ("boxed", PICTURES["one"])]:
        cv2.imwrite(str(root / f"{name}.png"), image)
    (root / "damaged.png").write_bytes(b"no picture")
    lines = [f"{name}.png,1,train," for name in ("one", "damaged", "whole", "none")]
    lines += ["small.png,2,test,", "two.png,2,test,", "boxed.png,2,test,1 2 30 40"]
    (root / "table.csv").write_text("\n".join(["path,vehicle_id,split,box", *lines]))
    return root


@pytest.fixture
def make(composed, cars, tmp_path, monkeypatch):
    """Makes boxes of the images; also the detector."""
    detector = Reds()
    monkeypatch.setattr(make_boxes, "make_detector", lambda *_, **__: detector)

    def run(*overrides, data=("data=csv", f"data.root={cars}")):
        given = (*data, "detector=reds", f"out={tmp_path}/boxes.csv", "batch_size=2")
        return make_boxes.run(composed(*given, *overrides, config="make_boxes"))

    return run, detector


@pytest.mark.parametrize(
    ("choose", "of_two"), [("largest", "0 0 35 60"), ("central", "45 20 75 45"), ("score", "0 0 35 60")]
)
def test_each_image_gets_the_box_of_its_vehicle(make, cars, tmp_path, caplog, choose, of_two):
    caplog.set_level("INFO")
    made = make[0](f"choose={choose}")
    expected = {"one": "10 5 70 50", "whole": "0 0 100 60", "none": "", "small": "", "two": of_two}
    assert made.set_index("path")["box"].to_dict() == {f"{name}.png": box for name, box in expected.items()}
    told = json.loads((tmp_path / "boxes.json").read_text())
    assert told["counts"] == {"images": 5, "nothing_found": 2, "several": 1, "damaged": 1}
    assert (told["several"], told["damaged"]) == (["two.png"], ["damaged.png"])
    for said in (
        "3 of 5 images have a box",
        "In 2 no vehicle was found; they stay whole.",
        "1 show several vehicles",
        "1 have a box in the data set and keep it.",
        "1 could not be read and are left out",
    ):
        assert said in caplog.text
    assert "damaged.png is damaged or no picture" in caplog.text
    table = add_extra(CSV(cars, "cars").read(), tmp_path / "boxes.csv", "cars").set_index("path")["box"]
    assert table["one.png"] == "10 5 70 50"
    assert (table["boxed.png"], table["none.png"], table["damaged.png"]) == ("1 2 30 40", "", "")
    assert read_image(cars / "one.png", table["one.png"]).shape == (45, 60, 3)


def test_a_stopped_run_goes_on_and_mixes_no_detectors(make, cars, tmp_path):
    run, detector = make
    whole = run("splits=[train,test]")
    rows = pd.read_csv(tmp_path / "boxes.csv", keep_default_na=False)
    rows[:2].to_csv(tmp_path / "boxes.csv", index=False)
    detector.seen = 0
    assert run().to_dict() == whole.to_dict()
    assert detector.seen == 3
    assert json.loads((tmp_path / "boxes.json").read_text())["several"] == ["two.png"]
    cv2.imwrite(str(cars / "damaged.png"), PICTURES["one"])
    assert run().set_index("path")["box"]["damaged.png"] == "10 5 70 50"
    with pytest.raises(ConfigError, match=r"were made with score=0\.3, now it is 0\.4; name another file"):
        run("score=0.4")
    (tmp_path / "boxes.json").unlink()
    with pytest.raises(ConfigError, match=r"is there, and no boxes\.json says how it was made; name another file"):
        run()


def test_what_was_found_before_a_failure_is_kept(make, tmp_path, monkeypatch):
    run, _ = make
    find = Reds.__call__

    def fails_at_last(self, images):
        if self.seen:
            raise MemoryError
        return find(self, images)

    monkeypatch.setattr(Reds, "__call__", fails_at_last)
    with pytest.raises(MemoryError):
        run("choose=central")
    assert pd.read_csv(tmp_path / "boxes.csv")["path"].tolist() == ["one.png"]
    monkeypatch.setattr(Reds, "__call__", find)
    assert len(run("choose=central")) == 5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data": ()}, "Whose boxes"),
        ({"data": ("data=vehiclenet",)}, "vehiclenet is a pool; make the boxes of each of its sources"),
        (["choose=biggest"], "choose is 'biggest', expected largest, central or score"),
        (["classes=[lorry]"], "classes has 'lorry', but the detector knows person, car, motor"),
        (["min_share=2"], "min_share is 2, expected a number from 0"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(make, overrides, message):
    with pytest.raises(ConfigError, match=message):
        make[0](**overrides) if isinstance(overrides, dict) else make[0](*overrides)


def test_boxes_of_a_real_detector_are_where_the_vehicles_are(quickstart_veri, shared):  # noqa: F811
    """Intersection over union with the box of the vehicle's mask."""
    table = VeRi776(quickstart_veri, "quickstart_veri").read()
    rows = table[table["mask"] != ""].iloc[::40]
    images = [read_image(quickstart_veri / path) for path in rows["path"]]
    truth = []
    for mask in rows["mask"]:
        y, x = np.nonzero(cv2.imread(str(quickstart_veri / mask), cv2.IMREAD_GRAYSCALE) > 127)
        truth.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
    assert len(images) == len(truth) > 10
    if shared is None:  # the way there and back is tested above
        return
    detector = make_detector(f"{shared}/models/yolox_nano.onnx", weights=None, names=None, device="cpu", threads=1)
    classes = np.array([2, 3, 5, 7])
    found = make_boxes.vehicles(detector, Selection(classes, 0.3, min_side=1), images, border=0.3, min_share=0.1)
    boxes = [make_boxes.chosen(one, image.shape[:2], "largest") for one, image in zip(found, images, strict=True)]
    overlaps = []
    for box, right in zip(boxes, truth, strict=True):
        if box:
            left, top, last, bottom = map(int, box.split())
            inner = max(0, min(last, right[2]) - max(left, right[0])) * max(
                0, min(bottom, right[3]) - max(top, right[1])
            )
            outer = (last - left) * (bottom - top) + (right[2] - right[0]) * (right[3] - right[1])
            overlaps.append(inner / (outer - inner))
    assert len(overlaps) >= len(images) // 2  # rendered vehicles look like none to it more often than real ones
    assert np.median(overlaps) > 0.75
