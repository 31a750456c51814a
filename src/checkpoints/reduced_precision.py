"""An exported ONNX network in fewer bits: float16, and int8 calibrated on images."""

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

Reduced = Literal["float16", "int8"]

#: What is computed in int8; all else, such as the normalisation of pixels and embeddings, stays as it is. Without the
#: activations the numbers before them would be scaled, which reach much further than those behind a ReLU.
_IN_INT8 = ("Conv", "Gemm", "MatMul", "Add", "Clip", "Relu")


def as_float16(content: bytes) -> bytes:
    """An ONNX network with weights and arithmetic in half precision; what goes in and comes out stays what it was.

    Args:
        content: Of the file.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights too small for half precision, which become the smallest there is
        halved: bytes = convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True).SerializeToString()
    return halved


def as_int8(content: bytes, batches: Iterable[Mapping[str, NDArray[Any]]]) -> bytes:
    """An ONNX network that computes in int8, by static quantisation.

    Weights are scaled by channel. Activations are scaled by the least and largest value that each has on the
    calibration images, to 0 … 255. The first convolution stays as it is: it is small, and all that follows depends on
    it.

    Args:
        content: Of the file.
        batches: What goes in, by name, of the calibration images; batches of one length.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left: Iterator[Mapping[str, NDArray[Any]]] = iter(batches)

        def get_next(self) -> Mapping[str, NDArray[Any]] | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as folder:
        given, prepared, written = (Path(folder, f"{name}.onnx") for name in ("given", "prepared", "written"))
        given.write_bytes(content)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            written,
            Reader(),
            op_types_to_quantize=[*_IN_INT8],
            nodes_to_exclude=_first_convolutions(onnx.load(prepared)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return written.read_bytes()


def _first_convolutions(model: Any) -> list[str]:
    """Names of the convolutions that look at pixels: no convolution comes before them."""
    behind: set[str] = set()
    first = []
    for node in model.graph.node:  # in an order in which they can be computed
        later = any(name in behind for name in node.input)
        if node.op_type == "Conv" and not later:
            first.append(node.name)
        if later or node.op_type == "Conv":
            behind.update(node.output)
    return first
