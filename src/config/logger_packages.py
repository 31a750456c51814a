"""Loggers of a configuration: whether they can log here."""

from importlib.util import find_spec

from omegaconf import DictConfig

from src.runtime.errors import ConfigError

_PACKAGES = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


def check_loggers(loggers: DictConfig | None) -> None:
    """Refuses a logger whose packages are not installed, before there is something to log.

    Raises:
        ConfigError: Names them and how to install them.
    """
    for name in map(str, loggers or {}):
        if missing := [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]:
            raise ConfigError(
                f"logger={name} needs the package {' and '.join(missing)}; install it with pip install "
                f"'vehicle-reid[{name}]', or pass another logger."
            )
