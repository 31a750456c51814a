"""Converted networks, kept beside their checkpoint for the next process."""

import hashlib
import json
import logging
import os
import platform
import re
import tempfile
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from src.checkpoints.engines import CONVERTERS, ENGINES, named
from src.checkpoints.restore import options_at_test
from src.methods.base import ReIDMethod
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)

_SRC = Path(__file__).resolve().parent.parent
_CODE = ("networks", "methods", "checkpoints", "embed")  # what a converted network depends on


class Kept(NamedTuple):
    """What an earlier process found out.

    Attributes:
        engine: The fastest on this checkpoint, `"torch"` if none of the others is any good.
        file: The converted network; with `"torch"` the reason, as text.
    """

    engine: str
    file: Path


class EngineCache:
    """The converted network of a checkpoint, in a file whose name says of what it is and which engine was the fastest.

    `last.openvino-<checkpoint>-<rest>.onnx` lies beside `last.ckpt`, or in a folder of the user's cache where nothing
    can be written there. The first number is the checkpoint's hash; the second is that of all else that decides what
    comes out: size and views of the images, options of the method at test, the device, this code, and the versions of
    what converts and computes. A network of another checkpoint or other versions is never found, and those of a
    checkpoint that has been written over are deleted. Files are written whole, so that processes may do so at once.

    Args:
        checkpoint: The file.
        checkpoint_sha: Its SHA-256.
        method: The method, with its views.
        size: Height and width of its images.
        device: Where it shall run.
    """

    def __init__(
        self, checkpoint: Path, checkpoint_sha: str, method: ReIDMethod, size: tuple[int, int], device: torch.device
    ) -> None:
        rest = {
            "size": size,
            "inputs": method.inputs,
            "views": asdict(method.views),
            "method": options_at_test(method),
            "device": [device.type, platform.machine()],
            "code": _code_sha(),
            "versions": [torch.__version__, *(named(name) for name in (*CONVERTERS, *ENGINES) if find_spec(name))],
        }
        self._checkpoint = checkpoint_sha[:12]
        self._rest = hashlib.sha256(json.dumps(rest).encode()).hexdigest()[:12]
        self._stem = checkpoint.stem
        place = hashlib.sha256(str(checkpoint.resolve()).encode()).hexdigest()[:12]
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._folders = [checkpoint.parent, home / "vehicle-reid" / place]
        self._own_folder: tempfile.TemporaryDirectory[str] | None = None

    def find(self) -> Kept | None:
        """What an earlier process has kept: that nothing is faster, or a network; None if there is nothing."""
        names = ("torch", *ENGINES)
        places = [Kept(engine, folder / self._name(engine)) for engine in names for folder in self._folders]
        return next((kept for kept in places if kept.file.is_file()), None)

    def find_network(self) -> Path | None:
        """A network that an earlier process has kept, whichever engine was faster, or none."""
        places = [folder / self._name(engine) for engine in ENGINES for folder in self._folders]
        return next((file for file in places if file.is_file()), None)

    def keep(self, engine: str, content: bytes) -> Path:
        """Writes what was found out, and deletes what is of an older checkpoint of this name.

        Args:
            engine: See `Kept`.
            content: See `Kept.file`.

        Returns:
            The file; it goes with this process if it could be written in none of the folders.
        """
        for folder in self._folders:
            file = folder / self._name(engine)
            try:
                write_atomically(file, content)
            except OSError:
                continue
            self._delete_old(folder)
            return file
        said = " or ".join(map(str, self._folders))
        log.warning("The converted network cannot be kept in %s, so that this process alone has it.", said)
        self._own_folder = tempfile.TemporaryDirectory()
        file = Path(self._own_folder.name, self._name(engine))
        file.write_bytes(content)
        return file

    def _name(self, engine: str) -> str:
        ending = "txt" if engine == "torch" else "onnx"
        return f"{self._stem}.{engine}-{self._checkpoint}-{self._rest}.{ending}"

    def _delete_old(self, folder: Path) -> None:
        kinds = "|".join((*ENGINES, "torch"))
        ours = re.compile(rf"{re.escape(self._stem)}\.({kinds})-([0-9a-f]{{12}})-[0-9a-f]{{12}}\.(onnx|txt)")
        for file in folder.iterdir():
            if (match := ours.fullmatch(file.name)) and match[2] != self._checkpoint:
                file.unlink(missing_ok=True)


@cache
def _code_sha() -> str:
    """Hash of the files that decide what a converted network computes."""
    found = hashlib.sha256()
    for file in sorted(file for room in _CODE for file in (_SRC / room).rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()
