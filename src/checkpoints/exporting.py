"""Checkpoints for other run times: ONNX, TorchScript, torch.export."""

import importlib.util
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.table import Table
from torch import Tensor

from src.checkpoints.engines import CONVERTERS, Run, open_network
from src.checkpoints.exportable import Exportable, as_onnx, random_input, trace
from src.checkpoints.restore import restore_for_embedding, saved_transforms
from src.config.checks import one_or_more
from src.runtime.console import console
from src.runtime.errors import ConfigError
from src.runtime.json_files import write_json
from src.runtime.provenance import file_sha
from src.runtime.whole_files import write_atomically

ENDINGS = {"onnx": ".onnx", "torchscript": ".pt", "torch_export": ".pt2"}

_MEANING = {
    "image": "RGB, 0 to 255, resized to this height and width: by area if the image is larger, else bilinear; it is "
    "normalised inside",
    "domain": "0 by day, 1 by night",
    "glare": "1 where a night image glares (src.data.transforms.highlights, computed from the resized image), else 0",
    "camera": "its camera's place among those of the training images (data set and number, sorted), -1 for any other",
    "view": "its view's place among those of the training images, sorted by name, -1 for any other",
}
_PARITY = (1, 2, 5)  # sizes of batches


def run(cfg: DictConfig) -> dict[str, Any]:
    """Exports, compares with PyTorch, times, and writes what the network takes beside it.

    Args:
        cfg: The configuration of `src.export`.

    Returns:
        What the JSON file says.

    Raises:
        ConfigError: If a format is unknown, or a package that it needs is missing.
        ValueError: If an exported network computes something else than PyTorch; its file is removed.
    """
    formats = one_or_more(cfg.format)
    for name in formats:
        _check_format(name)
    checkpoint = Path(cfg.checkpoint)
    method = restore_for_embedding(checkpoint)
    size, inputs = saved_transforms(method).height_and_width, method.inputs
    network = Exportable(method).eval()

    def example(count: int) -> list[Tensor]:
        return [random_input(name, count, size) for name in inputs]

    base = base_of(cfg)
    base.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {"PyTorch": {"ms_per_image": times(network, example, cfg.batches, cfg.repeats)}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about themselves
        program = trace(network, size)
        for name in formats:
            file = base.with_name(base.name + ENDINGS[name])
            _write(name, program, file, inputs)
            exported = load_exported(name, file, inputs)
            differences = [_difference(network, exported, example(count)) for count in _PARITY]
            if not all(difference <= cfg.tolerance for difference in differences):  # NaN is not either
                file.unlink()
                raise ValueError(
                    f"The {name} network differs from PyTorch by up to {max(differences):.1e}, more than "
                    f"tolerance={cfg.tolerance:g} allows; {file} is removed."
                )
            rows[name] = {
                "file": file.name,
                "mib": round(file.stat().st_size / 2**20, 1),
                "max_difference": max(differences),
                "ms_per_image": times(exported, example, cfg.batches, cfg.repeats),
            }
        dimensions = network(*example(1)).shape[1]
    said = {
        "method": type(method).__name__,
        "checkpoint": str(checkpoint),
        "checkpoint_sha": file_sha(checkpoint),
        "inputs": [_described(name, tensor) for name, tensor in zip(inputs, example(1), strict=True)],
        "output": {"shape": ["batch", dimensions], "dtype": "float32", "what": "embeddings of length 1"},
        "formats": rows,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    write_json(base.with_name(f"{base.name}.json"), said)
    _print(said, cfg.batches)
    return said


def base_of(cfg: DictConfig) -> Path:
    """Where the files go, without their endings."""
    out = Path(cfg.out)
    return out.with_suffix("") if out.suffix in ENDINGS.values() else out


def _described(name: str, tensor: Tensor) -> dict[str, Any]:
    shape = ["batch", *tensor.shape[1:]]
    return {"name": name, "shape": shape, "dtype": str(tensor.dtype).removeprefix("torch."), "what": _MEANING[name]}


def _check_format(name: str) -> None:
    if name not in ENDINGS:
        raise ConfigError(f"format is {name!r}, expected some of {', '.join(ENDINGS)}.")
    missing = [package for package in (*CONVERTERS, "onnxruntime") if not importlib.util.find_spec(package)]
    if name == "onnx" and missing:
        raise ConfigError(f"format=onnx needs {', '.join(missing)}: pip install 'vehicle-reid[export]'.")


def _write(name: str, program: torch.export.ExportedProgram, file: Path, inputs: Sequence[str]) -> None:
    if name == "onnx":
        write_atomically(file, as_onnx(program, inputs))
    elif name == "torchscript":
        # Of the exported graph, which has no Lightning around it.
        torch.jit.trace(program.module(), program.example_inputs[0], check_trace=False).save(file)
    else:
        torch.export.save(program, file)


def load_exported(name: str, file: Path, inputs: Sequence[str]) -> Run:
    """An exported network as a function of its inputs, on the CPU, with as many threads as torch.

    Args:
        name: The format.
        file: Where it is.
        inputs: What it takes, in order.
    """
    if name == "torchscript":
        return torch.jit.load(file)
    if name == "torch_export":
        return torch.export.load(file).module()
    return open_network("onnxruntime", file, inputs)


def _difference(network: Run, exported: Run, inputs: list[Tensor]) -> float:
    return (network(*inputs) - exported(*inputs)).abs().max().item()


def times(
    network: Run, example: Callable[[int], list[Tensor]], batches: Sequence[int], repeats: int
) -> dict[str, float]:
    """Milliseconds an image, the fastest of some repeats, by size of the batch."""
    found = {}
    for count in batches:
        inputs, seconds = example(count), []
        with torch.no_grad():
            network(*inputs)
            for _ in range(repeats):
                start = time.perf_counter()
                network(*inputs)
                seconds.append(time.perf_counter() - start)
        found[str(count)] = round(min(seconds) / count * 1000, 2)
    return found


def _print(said: dict[str, Any], batches: Sequence[int]) -> None:
    table = Table(title=f"{said['method']}, {said['output']['shape'][1]} dimensions", title_justify="left")
    for name in ("network", "file", "MiB", "differs by", *(f"ms/image, {count} at once" for count in batches)):
        table.add_column(name, justify="left" if name in ("network", "file") else "right")
    for name, row in said["formats"].items():
        exported = [row["file"], str(row["mib"]), f"{row['max_difference']:.1e}"] if "file" in row else ["", "", ""]
        table.add_row(name, *exported, *(f"{ms:.1f}" for ms in row["ms_per_image"].values()))
    out = console()
    out.print(table)
    out.print(f"CPU, {said['threads']} threads.", style="dim", highlight=False)
