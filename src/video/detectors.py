"""Detector by name: an ONNX file, or one of torchvision by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.runtime.errors import ConfigError
from src.video.detections import Detector
from src.video.onnx_detector import ONNXDetector
from src.video.torchvision_detector import TorchvisionDetector


@dataclass(frozen=True)
class DetectorChoice:
    """Arguments of `make_detector`, but for the threads."""

    name: str
    weights: str | None
    names: tuple[str, ...] | None
    device: str

    def make(self, threads: int) -> Detector:
        """Builds it."""
        return make_detector(self.name, weights=self.weights, names=self.names, device=self.device, threads=threads)


def make_detector(
    name: str, *, weights: str | None, names: Sequence[str] | None, device: str, threads: int
) -> Detector:
    """Builds a detector.

    Args:
        name: A file `*.onnx`, or a detector of torchvision by name.
        weights: File with the weights of a torchvision detector; None for its own download.
        names: Class names of an ONNX detector; None for COCO's 80.
        device: Where torchvision computes: auto, cpu, cuda, ….
        threads: How many threads it may take.

    Raises:
        ConfigError: If there is no such file or detector, or its outputs are of no known form.
    """
    if name.endswith(".onnx"):
        if weights is not None:
            raise ConfigError(f"weights={weights} is for torchvision's detectors; {name} holds its own, leave it away.")
        return ONNXDetector(Path(name), names=names, device=device, threads=threads)
    if names is not None:
        raise ConfigError(f"names is for ONNX detectors; {name} is one of torchvision, which knows its own classes.")
    return TorchvisionDetector(name, weights=None if weights is None else Path(weights), device=device, threads=threads)
