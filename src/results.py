"""What a run leaves behind: `metrics.json` and the embeddings folder."""

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.methods.retrieval_metric import TaskResult

SCHEMA = 1
_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "torchmetrics",
    "numpy",
    "albumentations",
    "opencv-python-headless",
)


def write_atomically(path: Path, text: str) -> None:
    """Writes a whole file or nothing: a full disk or a killed process leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_metrics(path: Path, results: dict[str, TaskResult], **context: Any) -> dict[str, Any]:
    """Writes `metrics.json`: the numbers, the protocol of each, and what they were measured with.

    Args:
        path: The file.
        results: By task name.
        context: More entries: `steps`, `checkpoint_sha`, `seed`, `data`, `config`, …

    Returns:
        What was written.
    """
    metrics = {
        "schema": SCHEMA,
        "tasks": {name: result.as_dict() for name, result in results.items()},
        "git": git_revision(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        **context,
    }
    write_atomically(path, json.dumps(metrics, indent=2) + "\n")
    return metrics


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The commit of this code, with `-dirty` if files differ from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def file_sha(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Embeddings:
    """An embeddings folder in memory: `features.safetensors`, `table.csv`, `meta.json`.

    Attributes:
        features: `(N, D)` L2-normalised, float32.
        table: The N records they belong to, in the same order; the index keeps the rows of the full table.
        meta: Checkpoint hash, configuration of the transforms, data name and fingerprint.
    """

    features: Tensor
    table: pd.DataFrame
    meta: dict[str, Any]


def write_embeddings(
    folder: Path, features: Tensor, rows: np.ndarray, table: pd.DataFrame, meta: dict[str, Any]
) -> None:
    """Writes an embeddings folder; `meta.json` comes last, so a folder that has it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"features": features.float().cpu().contiguous()}, folder / "features.safetensors")
    table.iloc[rows].to_csv(folder / "table.csv", index_label="row")
    write_atomically(folder / "meta.json", json.dumps(meta, indent=2) + "\n")


def read_embeddings(folder: Path) -> Embeddings:
    """Reads an embeddings folder.

    Raises:
        FileNotFoundError: If the folder lacks one of its three files (an interrupted run leaves no `meta.json`).
    """
    for name in ("features.safetensors", "table.csv", "meta.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is no whole embeddings folder, {name} is missing; write it again with src.evaluate."
            )
    table = pd.read_csv(folder / "table.csv", index_col="row", keep_default_na=False, na_values={"timestamp": [""]})
    features = load_file(folder / "features.safetensors")["features"]
    return Embeddings(features, table, json.loads((folder / "meta.json").read_text(encoding="utf-8")))
