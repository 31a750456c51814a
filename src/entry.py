"""What every command does around its work: one sentence for the user when something is wrong."""

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turns an error about the user's input into its sentence; the traceback goes to `error.txt` in the run folder.

    Errors of input are `ValueError` (ours say path or key, what was found and the fix) and `OSError` (a missing file, a
    full disk). Anything else is a bug and keeps its traceback.
    """
    # Lightning has its own handler, and tells about every accelerator that it does not use.
    logging.getLogger("lightning.pytorch").propagate = False
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("faiss").setLevel(logging.WARNING)
    for harmless in (
        ".*LeafSpec",
        ".*exists and is not empty",
        "The number of training batches",
        ".*does not have many workers",
    ):
        warnings.filterwarnings("ignore", message=harmless)
    try:
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
        sys.exit(f"Error: {reason}{where}")
