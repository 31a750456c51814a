"""ONNX detectors: YOLOX (Ge et al., 2021) and NanoDet (RangiLyu), as their own scripts export them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from src.runtime.errors import ConfigError
from src.video.detections import Detections
from src.video.packages import require

#: COCO's 80 classes in the order in which detectors number them, blanks as underscores.
COCO = tuple(
    name.replace(" ", "_")
    for name in FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    if name not in {"__background__", "N/A"}
)

_STRIDES = (8, 16, 32)
_MEAN, _DEVIATION = (  # of BGR, by which NanoDet normalises
    np.array(values, dtype=np.float32) for values in ([103.53, 116.28, 123.675], [57.375, 57.12, 58.395])
)
_LEAST = 0.05  # lower scores are nothing
_FORMS = (
    "YOLOX: one output (batch, places, 5 + classes), not decoded; NanoDet: for each of the strides 8, 16 and 32 one "
    "output (batch, places, classes) and one (batch, places, 4 · bins)"
)
Array = NDArray[np.float32]
Outputs = Sequence[Array]


class ONNXDetector:
    """A detector in an ONNX file: one input `(batch, 3, height, width)`, outputs of a known form.

    Which form it is, is read from the shapes of the outputs. Images go through together as far as the file's batch
    dimension allows: any number if it is free, else that many.

    Args:
        path: The file.
        names: Name of each class; None for COCO's 80.
        device: `"auto"` takes a GPU if onnxruntime has one, `"cpu"` does not.
        threads: How many it may take.

    Attributes:
        names: Name of each class.
        form: `"yolox"` or `"nanodet"`.

    Raises:
        ConfigError: If it cannot be loaded, or its input or outputs do not fit.
    """

    def __init__(
        self, path: Path, *, names: Sequence[str] | None = None, device: str = "auto", threads: int = 0
    ) -> None:
        runtime = require("onnxruntime", "ONNX detectors")
        if not path.is_file():
            raise ConfigError(
                f"detector={path} is not there; pass an ONNX file, or the name of a torchvision detector."
            )
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # exporters list weights as inputs, and each would be a warning
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the cores too
        providers = [name for name in runtime.get_available_providers() if name.startswith(("CUDA", "CPU"))]
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=providers if device != "cpu" else ["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each cause
            raise ConfigError(f"detector={path} is no ONNX file that can be loaded ({error}).") from error
        self.names: Sequence[str] = COCO if names is None else tuple(names)
        (image, *others) = self._session.get_inputs()
        shape = image.shape
        if others or len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
            found = ", ".join(f"{entry.name} {entry.shape}" for entry in self._session.get_inputs())
            raise ConfigError(f"detector={path} takes {found}, expected one input (batch, 3, height, width).")
        self._input, self._size = image.name, (int(shape[2]), int(shape[3]))
        self._batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        outputs = self._run(np.zeros((self._batch or 1, 3, *self._size), dtype=np.float32))
        form = _form([output.shape for output in outputs], self._size, len(self.names))
        if form is None:
            found = ", ".join(
                f"{entry.name} {output.shape}"
                for entry, output in zip(self._session.get_outputs(), outputs, strict=True)
            )
            raise ConfigError(
                f"detector={path} has the outputs {found} for {self._size[0]} × {self._size[1]} pixels and "
                f"{len(self.names)} classes (names), which is no known form. Known are {_FORMS}."
            )
        self.form = form
        self._prepare, self._decode = _CODE[form]

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """See `Detector`."""
        prepared = [self._prepare(image, self._size) for image in images]
        found: list[Detections] = []
        step = self._batch or max(1, len(images))
        for start in range(0, len(images), step):
            batch = np.stack([pixels for pixels, _ in prepared[start : start + step]])
            filled = np.concatenate([batch, np.zeros((step - len(batch), *batch.shape[1:]), dtype=np.float32)])
            outputs = self._run(filled if self._batch else batch)
            for place, (_, scale) in enumerate(prepared[start : start + step]):
                boxes, scores = self._decode([output[place] for output in outputs], self._size)
                found.append(_best(boxes / scale, scores))
        return found

    def _run(self, batch: Array) -> list[Array]:
        outputs: list[Array] = self._session.run(None, {self._input: batch})
        return outputs


def _best(boxes: Array, scores: Array) -> Detections:
    """Boxes `(P, 4)` and scores `(P, C)` as detections of each place's best class, where there is anything."""
    classes = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), classes]
    kept = best >= _LEAST
    return Detections(boxes[kept].astype(np.float32), best[kept].astype(np.float32), classes[kept].astype(np.int64))


def _form(shapes: Sequence[tuple[int, ...]], size: tuple[int, int], classes: int) -> str | None:
    places = [count for count, _ in _grids(size)]
    plain = [shape[1:] for shape in shapes]
    if plain == [(sum(places), 5 + classes)]:
        return "yolox"
    if len(plain) == 2 * len(places) and all(len(shape) == 2 for shape in plain):
        by_places = {count: sorted(columns for found, columns in plain if found == count) for count in places}
        if all(
            len(columns) == 2
            and classes in columns
            and (bins := columns[0] + columns[1] - classes) % 4 == 0
            and bins >= 8
            for columns in by_places.values()
        ):
            return "nanodet"
    return None


def _grids(size: tuple[int, int]) -> list[tuple[int, Array]]:
    """For each stride the number of places and their x and y `(P, 2)` in cells, row by row."""
    grids = []
    for stride in _STRIDES:
        height, width = -(-size[0] // stride), -(-size[1] // stride)
        y, x = np.mgrid[:height, :width]
        grids.append((height * width, np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)))
    return grids


def _prepare_yolox(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[Array, Array]:
    """Resized with its proportions into the upper left corner, the rest grey; BGR, 0 to 255."""
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = round(image.shape[0] * scale), round(image.shape[1] * scale)
    canvas = np.full((*size, 3), 114, dtype=np.uint8)
    canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return canvas[..., ::-1].transpose(2, 0, 1).astype(np.float32), np.full(4, scale, dtype=np.float32)


def _decode_yolox(outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """Centres are offsets from cells, sides are logarithms of cells; scores are object times class."""
    (output,) = outputs
    grids = _grids(size)
    cells = np.concatenate([cells for _, cells in grids])
    strides = np.repeat(_STRIDES, [count for count, _ in grids])[:, None].astype(np.float32)
    centres, sides = (output[:, :2] + cells) * strides, np.exp(output[:, 2:4]) * strides
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1), output[:, 4:5] * output[:, 5:]


def _prepare_nanodet(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[Array, Array]:
    """Resized to the input's size; BGR, normalised."""
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)[..., ::-1].astype(np.float32)
    small = (small - _MEAN) / _DEVIATION
    x, y = size[1] / image.shape[1], size[0] / image.shape[0]
    return small.transpose(2, 0, 1), np.array([x, y, x, y], dtype=np.float32)


def _decode_nanodet(outputs: Outputs, size: tuple[int, int]) -> tuple[Array, Array]:
    """Distances to the four sides are means of distributions over bins (Generalized Focal Loss)."""
    boxes, scores = [], []
    for stride, (count, cells) in zip(_STRIDES, _grids(size), strict=True):
        of_stride = [output for output in outputs if len(output) == count]
        # Exporters put all scores before all distances.
        classes, distances = of_stride
        bins = distances.reshape(count, 4, -1)
        weights = np.exp(bins - bins.max(axis=2, keepdims=True))
        sides = (weights / weights.sum(axis=2, keepdims=True)) @ np.arange(bins.shape[2], dtype=np.float32) * stride
        centres = (cells + 0.5) * stride
        boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1))
        scores.append(classes)
    return np.concatenate(boxes), np.concatenate(scores)


_CODE: dict[
    str,
    tuple[
        Callable[[NDArray[np.uint8], tuple[int, int]], tuple[Array, Array]],
        Callable[[Outputs, tuple[int, int]], tuple[Array, Array]],
    ],
] = {"yolox": (_prepare_yolox, _decode_yolox), "nanodet": (_prepare_nanodet, _decode_nanodet)}
