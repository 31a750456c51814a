"""Classes that a configuration names with `_target_`: that they can be had, and take what they are given."""

import inspect
import os
from collections.abc import Collection, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from src.config.data_node import ANCHORS
from src.config.values import check_values
from src.runtime.errors import ConfigError, did_you_mean

#: Whose classes a checkpoint may name. It carries its configuration, so without this list a checkpoint from a stranger
#: could call anything. What the user's own command line names is the user's own business.
TARGET_PACKAGES = (
    "src.data.",
    "src.methods.",
    "src.networks.",
    "src.training.",
    "src.evaluation.mlflow_logger.",
    "torch.optim.",
    "lightning.pytorch.",
)
#: Environment variable with the names of more packages, separated by commas.
TRUST = "REID_TRUST"


def check_targets(cfg: DictConfig, leave_out: Collection[str] = ()) -> None:
    """Checks every class that a configuration names; see `check_target`.

    Args:
        cfg: The configuration, or a part of it.
        leave_out: Keys of nodes that nothing is made of.
    """
    for key, node in _targets(cfg):
        if key not in leave_out:
            check_target(key, node)


def check_stored_targets(cfg: DictConfig, source: str) -> None:
    """Checks every class that a configuration out of a checkpoint names, which may be somebody else's.

    Args:
        cfg: The configuration, or a part of it.
        source: The checkpoint, for the message.

    Raises:
        ConfigError: Also if a class is of a package that is not trusted; see `TARGET_PACKAGES` and `TRUST`.
    """
    for key, node in _targets(cfg):
        _check_trusted(node["_target_"], source)
        check_target(key, node)


def check_target(key: str, node: DictConfig) -> None:
    """Refuses a `_target_` that cannot be imported, keys that its signature lacks, and values of other types."""
    from lightning.pytorch import LightningDataModule

    target = node["_target_"]
    named = _get_object(key, target)
    arguments = signature(named)
    check_values(key, node, arguments)
    if any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in inspect.signature(named).parameters.values()
    ):
        return
    anchors = ANCHORS if isinstance(named, type) and issubclass(named, LightningDataModule) else ()
    check_keys(key, node, [*arguments, *anchors, "_target_", "_partial_"], owner=target)


def check_keys(key: str, node: DictConfig, allowed: Collection[str], owner: str = "") -> None:
    """Refuses keys that are not allowed, and names the nearest one that is."""
    for name in node:
        if name in allowed:
            continue
        path = f"{key}.{name!s}" if key else str(name)
        hint = did_you_mean(name, allowed)
        shown = ", ".join(a for a in allowed if not a.startswith("_"))
        raise ConfigError(f"Unknown key {path!r}: {owner or key or 'the configuration'} takes {shown}{hint}")


def _check_trusted(target: str, source: str) -> None:
    """Refuses a class of a package that is not trusted, by the name it is given and by where it really is from."""
    named = [package.strip() for package in os.environ.get(TRUST, "").split(",") if package.strip()]
    trusted = (*TARGET_PACKAGES, *(f"{package.removesuffix('.')}." for package in named))
    home = target
    if target.startswith(trusted):  # only then may it be imported
        named_object = _get_object("_target_", target)
        home = f"{getattr(named_object, '__module__', None)}."
    if not home.startswith(trusted):
        package = home.partition(".")[0]
        raise ConfigError(
            f"{source} names {target!r}, a class of {package}, and to load it runs code of that package; if you trust "
            f"it and the checkpoint, set the environment variable {TRUST}={','.join([*named, package])}."
        )


def _get_object(key: str, target: str) -> Any:
    from hydra.utils import get_object

    try:
        return get_object(target)
    except Exception as error:  # whatever importing somebody's module may raise
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(
            f"{key}._target_ is {target!r}, which cannot be imported ({reason}); write <package>.<module>.<class>, "
            "with the package's folder on PYTHONPATH."
        ) from error


def signature(named: Any) -> dict[str, Any]:
    """Arguments of a class or function, and their annotations."""
    try:
        parameters = inspect.signature(named, eval_str=True).parameters
    except NameError:  # an annotation that is there for type checkers only
        parameters = inspect.signature(named).parameters
    return {name: parameter.annotation for name, parameter in parameters.items()}


def _targets(node: Any, key: str = "") -> Iterator[tuple[str, DictConfig]]:
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node
        children: Any = node.keys()
    elif isinstance(node, ListConfig):
        children = range(len(node))
    else:
        return
    for child in children:
        # An interpolated child (`stages.main.data: ${data}`) is checked where it is written.
        if not OmegaConf.is_interpolation(node, child) and not OmegaConf.is_missing(node, child):
            yield from _targets(node[child], f"{key}.{child}" if key else str(child))
