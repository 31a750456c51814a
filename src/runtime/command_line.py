"""Arguments of a command, before Hydra parses them: paths and names are text, whatever is in them."""

import os
import re
from collections.abc import Collection, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString, Sweep
from hydra.errors import HydraException

#: Keys whose values are paths or names. What looks like a number there is a name, and what Hydra's grammar has no place
#: for (spaces, brackets, accents) stands for itself.
_TEXT = re.compile(
    r"""^\+{0,2}(
        checkpoint|checkpoints|embeddings|images|index|query|out|weights|cameras|picture|json|report|run|runs|resume|name
        |video|videos|detector|watch|fit|travel
        |hydra\.(run|sweep)\.dir
        |paths\.(data_dir|output_dir|weights\.\w+)
        |backbone\.weights
        |([\w.@]+\.)?(root|extra|file|folder)
        |stages\.\w+\.(load|mine\.checkpoint)
        |mine\.checkpoint
        |retrieval\.(attribute_constraint\.labels|camera_verification\.embeddings)
    )$""",
    re.VERBOSE,
)


def quoted(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with quotes around values that Hydra would take for something else than text.

    Lists in brackets, values of a sweep and what is quoted already stay as they are, unless there is a file of that
    very name.

    Args:
        arguments: Of the command line.
    """
    return [_quoted(argument) for argument in arguments]


def without(arguments: Sequence[str], groups: Collection[str]) -> list[str]:
    """The arguments with `logger=null` as Hydra says it: `~logger`.

    Args:
        arguments: Of the command line.
        groups: Of the configuration.
    """
    pairs = [argument.partition("=") for argument in arguments]
    return [f"~{key}" if value == "null" and key in groups else f"{key}{equals}{value}" for key, equals, value in pairs]


def _quoted(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key.startswith("-") or not _TEXT.match(key):
        return argument
    try:
        meant: Any = OverridesParser.create().parse_override(argument)._value
    except HydraException:
        return f"{key}={_as_text(value)}"
    if isinstance(meant, QuotedString) or meant is None:
        return argument
    if isinstance(meant, str):
        # Hydra drops spaces around a value, and what is escaped is no longer.
        return argument if meant == value or not os.path.lexists(value) else f"{key}={_as_text(value)}"
    if isinstance(meant, list | dict | Sweep) and not os.path.lexists(value):
        return argument
    return f"{key}={_as_text(value)}" if value else argument


def _as_text(value: str) -> str:
    """A value as a quoted string of Hydra's grammar, in which a quote, and a backslash before one, are escaped."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{trailing * chr(92)}'"
