"""Warnings of libraries, each said once and in a sentence, or not at all where nobody can do anything about it."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from src.runtime.processes import on_first_process

log = logging.getLogger(__name__)

#: What is true and does no harm here.
_HARMLESS = (
    ".*LeafSpec",
    ".*exists and is not empty",
    "The number of training batches",
    ".*does not have many workers",
    "Found .* module.s. in eval mode",  # those that a stage leaves as they are, as its first lines say
    "Grad strides do not match",  # of 1 × 1 convolutions, channels last, under DDP: a copy
    ".*your dataloader is not resumable",  # it is: the sampler leaves out what was trained on
)
#: About the code of a library, or what its next version will be like.
_FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


@contextmanager
def said_once() -> Iterator[None]:
    """Puts what libraries warn of into the log: who warns, and the first sentence, once, without lines of code."""
    # Lightning has its own handler, and tells about every accelerator that it does not use.
    logging.getLogger("lightning.pytorch").propagate = False
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("faiss").setLevel(logging.WARNING)
    said: set[str] = set()

    def show(message: Warning | str, _category: type[Warning], filename: str, *_: object) -> None:
        package = _package(filename)
        sentence = f"{package} warns: {first_sentence(str(message))}" if package else str(message)
        if sentence not in said and on_first_process(True, False):
            said.add(sentence)
            log.warning(sentence)

    with warnings.catch_warnings():
        for category in _FOR_DEVELOPERS:
            warnings.simplefilter("ignore", category)
        for harmless in _HARMLESS:
            warnings.filterwarnings("ignore", message=harmless)
        warnings.showwarning = cast(Any, show)  # whose last arguments Python may leave away
        yield


def first_sentence(text: str) -> str:
    r"""The first sentence of a text on one line.

    >>> first_sentence("Found 1.5 GB\nof data. Set `workers` (triggered in file.cpp:12.)")
    'Found 1.5 GB of data.'
    """
    line = " ".join(text.split())
    return re.split(r"(?<=[a-z)`'\"]\.) ", line, maxsplit=1)[0]


def _package(filename: str) -> str:
    """The installed package that a file is of; "" for this project, whose warnings are sentences already."""
    parts = Path(filename).parts
    if "site-packages" not in parts[:-1] or Path(__file__).parent.parent in Path(filename).parents:
        return ""
    return parts[parts.index("site-packages") + 1].removesuffix(".py")
