"""Engines that run an exported ONNX network: ONNX Runtime and OpenVINO."""

import importlib.util
import threading
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from src.runtime.errors import ConfigError

Engine = Literal["openvino", "onnxruntime"]
Run = Callable[..., Tensor]

ENGINES: tuple[Engine, ...] = get_args(Engine)
#: What converts a method to ONNX, whichever engine runs it.
CONVERTERS = ("onnx", "onnxscript")
EXTRAS = {"openvino": "openvino", "onnxruntime": "export"}
#: Images that go through an engine together: more of them leave a CPU's caches, and slowed engines by up to a third.
CHUNK = 8
_ON_GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


def installed(device: torch.device) -> tuple[Engine, ...]:
    """The engines that are there for a device: on a GPU ONNX Runtime alone, if its build knows GPUs."""
    found = tuple(engine for engine in ENGINES if importlib.util.find_spec(engine))
    if device.type == "cpu":
        return found
    return tuple(engine for engine in found if engine == "onnxruntime" and _providers(device))


def require(engine: Engine, device: torch.device) -> None:
    """Refuses an engine that is not there.

    Raises:
        ConfigError: Says what to install.
    """
    if not importlib.util.find_spec(engine):
        raise ConfigError(f"engine={engine} needs {engine}: pip install 'vehicle-reid[{EXTRAS[engine]}]'.")
    if engine not in installed(device):
        build = "onnxruntime-gpu" if engine == "onnxruntime" else "a CPU; pass device=cpu"
        raise ConfigError(f"engine={engine} on {device} needs {build}, or pass engine=torch.")


def named(engine: str) -> str:
    """An engine with its version, for records: `"openvino 2026.4.1"`; PyTorch is `"torch"`, whose version they have."""
    if engine == "torch":
        return engine
    for package in (engine, f"{engine}-gpu"):
        try:
            return f"{engine} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    return engine


def open_network(engine: Engine, file: Path, inputs: Sequence[str], device: torch.device | None = None) -> Run:
    """An ONNX file as a function of its inputs, in single precision, with as many threads as torch.

    Args:
        engine: What runs it.
        file: Where it is.
        inputs: What it takes, in order; any others that are given are not looked at.
        device: Where it runs; None for the CPU.
    """
    opened = _openvino(file) if engine == "openvino" else _onnxruntime(file, device or torch.device("cpu"))

    def run(*tensors: Tensor) -> Tensor:
        chunks = zip(*(tensor.cpu().split(CHUNK) for tensor in tensors), strict=True)
        fed = ({name: tensor.numpy() for name, tensor in zip(inputs, chunk, strict=True)} for chunk in chunks)
        return torch.cat([torch.from_numpy(opened(chunk)) for chunk in fed])

    return run


def _onnxruntime(file: Path, device: torch.device) -> Callable[[dict[str, Any]], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: it also says what it could not do beforehand
    providers = ["CPUExecutionProvider"] if device.type == "cpu" else _providers(device)
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    if device.type != "cpu" and session.get_providers()[0] not in _ON_GPU:
        raise RuntimeError("ONNX Runtime found no GPU that its build can use")
    return lambda fed: session.run(None, fed)[0]


def _providers(device: torch.device) -> list[Any]:
    import onnxruntime

    there = onnxruntime.get_available_providers()
    return [(name, {"device_id": device.index or 0}) for name in _ON_GPU if name in there]


def _openvino(file: Path) -> Callable[[dict[str, Any]], Any]:
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 on a CPU that has it
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # else two processes share the first cores
    }
    core = openvino.Core()
    request = core.compile_model(core.read_model(file), "CPU", options).create_infer_request()
    alone = threading.Lock()  # a request computes one thing at a time

    def infer(fed: dict[str, Any]) -> Any:
        with alone:
            return request.infer(fed)[0].copy()

    return infer
