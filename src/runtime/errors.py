"""Errors in one sentence for the user, around the work of every command."""

import difflib
import logging
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from src.runtime.library_warnings import said_once

log = logging.getLogger(__name__)


class ConfigError(ValueError):
    """A configuration that cannot mean anything; the message is one sentence for the user."""


def did_you_mean(name: object, allowed: Iterable[str], otherwise: str = ".") -> str:
    """The end of a sentence about a name that is not known: the nearest one that is.

    Args:
        name: What was given.
        allowed: The known names.
        otherwise: The end where none is near.

    >>> did_you_mean("colr", ["colour", "type"])
    "; did you mean 'colour'?"
    """
    near = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f"; did you mean {near[0]!r}?" if near else otherwise


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turns an error about the user's input into its sentence; the traceback goes to `error.txt` in the run folder.

    Errors of input are `ValueError` (ours say path or key, what was found and the fix) and `OSError` (a missing file, a
    full disk). Anything else is a bug and keeps its traceback. A process that was told to end exits as the shell has it
    for one that SIGTERM ended: with 128 + 15.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import InstantiationException

    try:
        with said_once():
            yield
    except (ValueError, OSError, InstantiationException) as error:
        reason = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if not isinstance(reason, (ValueError, OSError)):
            raise
        trace = Path(HydraConfig.get().runtime.output_dir) / "error.txt"
        try:
            trace.write_text(traceback.format_exc(), encoding="utf-8")
            where = f"\n(Traceback: {trace})"
        except OSError:  # the disk may be what is wrong
            where = ""
        end_job(f"Error: {sentence(reason)}{where}")
    except SystemExit as end:
        from lightning.pytorch.utilities.exceptions import SIGTERMException

        if isinstance(end, SIGTERMException):
            sys.exit(128 + signal.SIGTERM)
        raise


def sentence(error: BaseException) -> str:
    """The sentence of an error; torch puts the traceback of a loader process before it."""
    text = str(error).strip()
    wrapped = text.startswith("Caught ") and "Original Traceback" in text
    return text.splitlines()[-1].partition(": ")[2] if wrapped else text


def end_job(reason: str | int) -> NoReturn:
    """Ends the process with a sentence or an exit code; of a sweep only this job: its end fails, after the other jobs.

    Args:
        reason: What `sys.exit` takes.

    Raises:
        SystemExit: Outside a sweep.
        CompactHydraException: In a sweep. Hydra goes on after exceptions, not after the end of the process.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from hydra.types import RunMode

    if HydraConfig.get().mode != RunMode.MULTIRUN:
        sys.exit(reason)
    message = reason if isinstance(reason, str) else f"Error: a process of this job ended with exit code {reason}."
    log.error(message)
    raise CompactHydraException(message)
