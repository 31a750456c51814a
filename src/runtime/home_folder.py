"""Paths that begin with `~`, which a shell expands at the beginning of a word only, and not behind `key=`."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

#: A `~` that begins a value, or an entry of a list or a mapping, and is all of it or ends with a slash.
_HOME = re.compile(r"""(?<=[=\[{,:\s'"])~(?=/|$|[\]},'"])""")


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with the home folder instead of `~`, for which Hydra's grammar has no place.

    Args:
        arguments: Of the command line; `~key`, which takes a key away, stays as it is.
    """
    home = str(Path.home())
    pairs = [argument.partition("=") for argument in arguments]
    return [key + _HOME.sub(lambda _: home, f"{equals}{value}") for key, equals, value in pairs]


def expand_home(node: Any) -> None:
    """Replaces `~/…` by the home folder everywhere in a configuration, in place: in files, and in the environment.

    Args:
        node: A configuration, or a part of one.
    """
    if not isinstance(node, DictConfig | ListConfig):
        return
    keys: list[Any] = list(node.keys() if isinstance(node, DictConfig) else range(len(node)))
    for key in keys:
        value = None
        with suppress(OmegaConfBaseException):  # it is missing, or cannot be resolved: who needs it will say so
            value = node[key]
        if isinstance(value, str) and (value == "~" or value.startswith("~/")):
            with open_dict(node):
                node[key] = str(Path(value).expanduser())
        elif not OmegaConf.is_interpolation(node, key):  # another node is expanded where it is written
            expand_home(value)
