"""What all commands share: where their configurations are, and one sentence for the user when something is wrong."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from src.runtime.errors import one_sentence_errors
from src.runtime.resolvers import register_resolvers

_SRC = Path(__file__).resolve().parent.parent
#: The `conf/` folder: inside the package when installed from a wheel, beside it in a checkout.
CONF_DIR = str(_SRC / "conf" if (_SRC / "conf").is_dir() else _SRC.parent / "conf")


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
        def main(cfg: DictConfig) -> Any:
            with one_sentence_errors():
                return function(cfg)

        return main

    return decorate
