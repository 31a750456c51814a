"""Torchvision's detectors, by name."""

from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from src.runtime.errors import ConfigError, did_you_mean
from src.video.detections import Detections


class TorchvisionDetector:
    """A detector of torchvision, trained on COCO.

    Args:
        name: As torchvision calls it, such as `fasterrcnn_mobilenet_v3_large_320_fpn`.
        weights: A file with its weights; None for torchvision's own, which are downloaded once.
        device: `"auto"`, `"cpu"`, `"cuda"`, ….
        threads: How many threads of the CPU it may take.

    Attributes:
        names: Name of each class, blanks as underscores.

    Raises:
        ConfigError: If there is no such detector, or its weights do not fit or cannot be had.
    """

    def __init__(self, name: str, *, weights: Path | None = None, device: str = "auto", threads: int = 0) -> None:
        known = torchvision.models.list_models(module=torchvision.models.detection)
        if name not in known:
            raise ConfigError(
                f"detector is {name!r}, expected an ONNX file (*.onnx) or one of torchvision's, "
                f"{', '.join(known)}{did_you_mean(name, known)}"
            )
        default = torchvision.models.get_model_weights(name).DEFAULT
        self.names: Sequence[str] = tuple(category.replace(" ", "_") for category in default.meta["categories"])
        try:
            if weights is None:
                model = torchvision.models.get_model(name, weights=default)
            else:
                model = torchvision.models.get_model(
                    name, weights=None, weights_backbone=None, num_classes=len(self.names)
                )
                model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except URLError as error:
            raise ConfigError(
                f"The weights of {name} cannot be downloaded ({error.reason}); fetch {default.url} where there is a "
                "network and pass weights=<file>."
            ) from error
        except FileNotFoundError as error:
            raise ConfigError(f"weights={weights} is not there; pass the file with the weights of {name}.") from error
        except Exception as error:  # unpickling and loading have many
            raise ConfigError(f"weights={weights} are not those of {name} ({str(error).splitlines()[0]}).") from error
        if threads:
            torch.set_num_threads(threads)
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._device = torch.device(chosen)
        self._model = model.eval().requires_grad_(False).to(self._device)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """See `Detector`."""
        batch = [torch.from_numpy(image).to(self._device).permute(2, 0, 1).float() / 255 for image in images]
        with torch.inference_mode():
            found = self._model(batch)
        return [
            Detections(
                entry["boxes"].float().cpu().numpy(),
                entry["scores"].float().cpu().numpy(),
                entry["labels"].cpu().numpy(),
            )
            for entry in found
        ]
