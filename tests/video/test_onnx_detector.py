"""YOLOX and NanoDet heads against formulas written out place by place, and the two real files where they are."""

import math

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from src.runtime.errors import ConfigError
from src.video.decode import Every, Video
from src.video.detections import VEHICLES, Selection, class_numbers
from src.video.onnx_detector import COCO, ONNXDetector

HEIGHT, WIDTH = 32, 64
GRID = [(stride, y, x) for stride in (8, 16, 32) for y in range(HEIGHT // stride) for x in range(WIDTH // stride)]
SHARE = 1e-3
NAMES = ("person", "car", "bus")


def write_model(path, outputs, batch="n", size=(HEIGHT, WIDTH)):
    """A detector whose outputs are these arrays plus a share of the image's mean: each image has its own."""
    nodes, declared = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1)], []
    nodes.append(helper.make_node("Squeeze", ["mean", "last"], ["squeezed"]))
    nodes.append(helper.make_node("Mul", ["squeezed", "share"], ["level"]))
    constants = [numpy_helper.from_array(np.array([3], np.int64), "last")]
    constants.append(numpy_helper.from_array(np.array([SHARE], np.float32), "share"))
    for number, output in enumerate(outputs):
        constants.append(numpy_helper.from_array(output[None].astype(np.float32), f"c{number}"))
        nodes.append(helper.make_node("Add", [f"c{number}", "level"], [f"o{number}"]))
        shape = [batch, *output.shape]
        declared.append(helper.make_tensor_value_info(f"o{number}", TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, *size])
    graph = helper.make_graph(nodes, "g", [image], declared, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def expected_yolox(output, scale):
    found = []
    for (stride, y, x), values in zip(GRID, output.astype(np.float64), strict=True):
        cx, cy = (values[0] + x) * stride, (values[1] + y) * stride
        w, h = math.exp(values[2]) * stride, math.exp(values[3]) * stride
        scores = [values[4] * value for value in values[5:]]
        if max(scores) >= 0.05:
            box = [side / scale for side in (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)]
            found.append((box, max(scores), scores.index(max(scores))))
    return found


def expected_nanodet(scores, distances, scale):
    found = []
    for (stride, y, x), of_place, bins in zip(
        GRID, scores.astype(np.float64), distances.astype(np.float64), strict=True
    ):
        sides = []
        for side in bins.reshape(4, -1):
            weights = [math.exp(value) for value in side]
            sides.append(stride * sum(i * weight for i, weight in enumerate(weights)) / sum(weights))
        cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
        box = [cx - sides[0], cy - sides[1], cx + sides[2], cy + sides[3]]
        if of_place.max() >= 0.05:
            found.append(([side / scale[i % 2] for i, side in enumerate(box)], of_place.max(), int(of_place.argmax())))
    return found


def compare(found, expected):
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, [box for box, _, _ in expected], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.scores, [score for _, score, _ in expected], rtol=1e-5)
    assert found.classes.tolist() == [number for _, _, number in expected]


def random_outputs(form):
    rng = np.random.default_rng()
    counts = [HEIGHT * WIDTH // stride**2 for stride in (8, 16, 32)]
    if form == "yolox":
        return [np.concatenate([rng.normal(size=(sum(counts), 4)), rng.random((sum(counts), 4))], axis=1)]
    scores = [rng.random((count, 3)) ** 4 for count in counts]
    return scores + [rng.normal(size=(count, 32)) for count in counts]


@pytest.mark.parametrize("form", ["yolox", "nanodet"])
@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_heads_are_decoded_as_their_formulas_say(tmp_path, form, batch):
    outputs = random_outputs(form)
    detector = ONNXDetector(write_model(tmp_path / "d.onnx", outputs, batch), names=NAMES, device="cpu")
    assert detector.form == form
    images = [np.full((48, 96, 3), level, np.uint8) for level in (20, 118, 230)]
    found = detector(images)
    assert len(found) == 3
    for image, of_image in zip(images, found, strict=True):
        if form == "yolox":
            compare(of_image, expected_yolox(outputs[0] + SHARE * image.mean(), HEIGHT / 48))
        else:
            mean, deviation = np.array([103.53, 116.28, 123.675]), np.array([57.375, 57.12, 58.395])
            level = SHARE * ((image[0, 0] - mean) / deviation).mean()
            scores, distances = np.concatenate(outputs[:3]) + level, np.concatenate(outputs[3:]) + level
            compare(of_image, expected_nanodet(scores, distances, (WIDTH / 96, HEIGHT / 48)))


def test_images_are_prepared_as_their_authors_do(tmp_path):
    rng = np.random.default_rng()
    image = rng.integers(0, 255, (48, 120, 3), dtype=np.uint8)
    yolox = ONNXDetector(write_model(tmp_path / "y.onnx", random_outputs("yolox")), names=NAMES)
    pixels, _ = yolox._prepare(image, (HEIGHT, WIDTH))
    small = cv2.resize(image, (64, 26))
    np.testing.assert_array_equal(pixels[:, :26], small[..., ::-1].transpose(2, 0, 1))
    assert (pixels[:, 26:] == 114).all()
    nanodet = ONNXDetector(write_model(tmp_path / "n.onnx", random_outputs("nanodet")), names=NAMES)
    pixels, _ = nanodet._prepare(image, (HEIGHT, WIDTH))
    blue = (cv2.resize(image, (64, 32))[..., 2].astype(float) - 103.53) / 57.375
    np.testing.assert_allclose(pixels[0], blue, rtol=1e-5, atol=1e-6)


def test_outputs_of_no_known_form_are_named(tmp_path):
    (output,) = random_outputs("yolox")
    for wrong in ([output[:-1]], [output[:, :-1]], [output, output], [output.reshape(-1)]):
        with pytest.raises(ConfigError, match=r"has the outputs o0 \(1, .*no known form\. Known are YOLOX.*NanoDet"):
            ONNXDetector(write_model(tmp_path / "d.onnx", wrong), names=NAMES)
    with pytest.raises(ConfigError, match=r"3 × 64 pixels|takes image"):
        ONNXDetector(write_model(tmp_path / "d.onnx", [output], size=("h", "w")), names=NAMES)
    (tmp_path / "d.onnx").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="is no ONNX file that can be loaded"):
        ONNXDetector(tmp_path / "d.onnx")


def test_coco_has_its_80_classes_in_order():
    assert len(COCO) == 80
    assert [COCO[number] for number in (0, 2, 3, 5, 7, 79)] == [
        "person",
        "car",
        "motorcycle",
        "bus",
        "truck",
        "toothbrush",
    ]


@pytest.mark.parametrize("name", ["yolox_nano", "nanodet_m_320"])
def test_real_detectors_find_the_two_cars_of_a_real_road(shared, tmp_path, name):
    if shared is None:  # the formulas are tested above; then at least that a file of that size is taken
        size = 416
        places = sum((size // stride) ** 2 for stride in (8, 16, 32))
        model = write_model(tmp_path / "d.onnx", [np.zeros((places, 85))], 1, (size, size))
        assert ONNXDetector(model).form == "yolox"
        return
    detector = ONNXDetector(shared / "models" / f"{name}.onnx", device="cpu", threads=1)
    with Video(shared / "video" / "road.mp4") as video:
        frames = [frame.image for frame in video.frames(Every.parse("12f"))]
    select = Selection(class_numbers(detector.names, VEHICLES), 0.4, 32)
    for image, found in zip(frames, detector(frames), strict=True):
        kept = select(found, image.shape[:2])
        large = kept.boxes[kept.scores > 0.45]
        assert len(large) >= 2, kept
        for car in ((812, 406, 947, 494), (1030, 404, 1250, 506)):  # by eye; they drive on
            centre = np.array([(car[0] + car[2]) / 2, (car[1] + car[3]) / 2])
            assert min(np.linalg.norm((box[:2] + box[2:]) / 2 - centre) for box in large) < 60
