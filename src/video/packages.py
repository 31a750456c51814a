"""Packages that only videos need."""

import importlib
from typing import Any

from src.runtime.errors import ConfigError


def require(name: str, purpose: str) -> Any:
    """Imports a package of the extra `video`.

    Args:
        name: Of the module.
        purpose: What needs it, for the message.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"The package {name} is needed for {purpose} and cannot be imported ({error}); install it with "
            "pip install 'vehicle-reid[video]'."
        ) from error
