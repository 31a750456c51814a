"""Which detections count."""

import numpy as np
import pytest

from src.runtime.errors import ConfigError
from src.video.detections import Detections, Selection, class_numbers
from src.video.detectors import make_detector

NAMES = ("person", "car", "bus")


def detections(*entries):
    boxes, scores, classes = zip(*entries, strict=True)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(classes, np.int64))


def test_class_score_and_size_count():
    found = detections(
        ((10, 10, 60, 50), 0.9, 1),
        ((10, 60, 60, 95), 0.9, 0),  # a person
        ((70, 10, 120, 50), 0.2, 1),  # unsure
        ((130, 10, 140, 50), 0.9, 1),  # narrow
        ((150, 60, 230, 95), 0.6, 2),
        ((190, 10, 220, 50), 0.9, 1),  # 10 pixels of it are in the frame
    )
    kept = Selection(class_numbers(NAMES, ["car", "bus"]), 0.3, 20)(found, (100, 200))
    np.testing.assert_array_equal(kept.boxes, [[10, 10, 60, 50], [150, 60, 200, 95]])
    np.testing.assert_array_equal(kept.classes, [1, 2])
    empty = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    assert len(Selection(np.array([1]), 0.3, 20)(empty, (100, 200))) == 0


def test_one_vehicle_is_found_once_whatever_its_class():
    found = detections(((0, 0, 50, 50), 0.6, 2), ((2, 2, 52, 52), 0.9, 1), ((30, 0, 80, 50), 0.5, 1))
    kept = Selection(np.array([1, 2]), 0.1, 5)(found, (100, 100))
    np.testing.assert_allclose(kept.scores, [0.9, 0.5])


def test_the_region_holds_the_foot_of_the_box():
    lower_left = np.array([[0, 0.5], [0.5, 0.5], [0.5, 1], [0, 1]], np.float32)
    found = detections(
        ((0, 0, 40, 60), 0.9, 1), ((0, 0, 40, 40), 0.8, 1), ((60, 60, 95, 99), 0.7, 1), ((25, 55, 74, 99), 0.6, 1)
    )
    kept = Selection(np.array([1]), 0.1, 5, lower_left)(found, (100, 100))
    np.testing.assert_allclose(kept.scores, [0.9, 0.6])


def test_unknown_classes_and_misplaced_options_are_refused(tmp_path):
    np.testing.assert_array_equal(class_numbers(NAMES, ["bus", "car"]), [1, 2])
    with pytest.raises(ConfigError, match="classes has 'tram', but the detector knows person, car, bus"):
        class_numbers(NAMES, ["car", "tram"])
    plain = {"weights": None, "names": None, "device": "cpu", "threads": 1}
    with pytest.raises(ConfigError, match=r"a\.onnx is not there"):
        make_detector(str(tmp_path / "a.onnx"), **plain)
    with pytest.raises(ConfigError, match="is for torchvision's detectors"):
        make_detector("a.onnx", **plain | {"weights": "w.pth"})
    with pytest.raises(ConfigError, match="names is for ONNX detectors"):
        make_detector("ssdlite320_mobilenet_v3_large", **plain | {"names": ["car"]})
