"""Frame of all commands: their configuration, and one sentence for the user when something is wrong."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from src.runtime.command_line import quoted, without
from src.runtime.errors import one_sentence_errors
from src.runtime.home_folder import expand_home, expanded
from src.runtime.resolvers import register_resolvers

_SRC = Path(__file__).resolve().parent.parent
#: The `conf/` folder: inside the package when installed from a wheel, beside it in a checkout.
CONF_DIR = str(_SRC / "conf" if (_SRC / "conf").is_dir() else _SRC.parent / "conf")


def _groups() -> set[str]:
    """The groups of the configuration."""
    return {folder.name for folder in Path(CONF_DIR).iterdir() if folder.is_dir()}


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[..., Any]]:
    """Makes a command of a function of a configuration: `command("train")` composes it from `conf/train.yaml`.

    The function imports what it needs itself, so that `--help` and mistyped keys answer at once.

    Args:
        config_name: Name of the file in `conf/`.
    """
    register_resolvers()

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[..., Any]:
        @hydra.main(version_base="1.3", config_path=CONF_DIR, config_name=config_name)
        @wraps(function)
        def composed(cfg: DictConfig) -> Any:
            # OpenCV would split every image over all cores, where other processes load images already.
            os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
            # Read when torch is loaded. Threads that spin until the slowest is done take its core from it where another
            # program has the others (docs/benchmarks.md).
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
            with one_sentence_errors():
                expand_home(cfg)
                return function(cfg)

        @wraps(function)
        def main() -> Any:
            sys.argv[1:] = without(quoted(expanded(sys.argv[1:])), _groups())
            return composed()

        return main

    return decorate
