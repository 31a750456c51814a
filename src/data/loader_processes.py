"""Loader processes: they decode in one thread each, and end with the process that they load for, not before."""

import atexit
import multiprocessing
import signal
from functools import cache
from typing import Any

import cv2


def loader_options(workers: int) -> dict[str, Any]:
    """Options of a `DataLoader` of images on its processes; sees to it that they end with this one.

    Args:
        workers: Their number; 0 loads in this process.
    """
    _end_loaders_at_exit()
    return {"num_workers": workers, "worker_init_fn": _begin}


def decode_in_one_thread() -> None:
    """Keeps OpenCV to the thread that calls it: other processes load beside this one, and its threads outlive no fork.

    Commands do so by the environment; see `src.runtime.command`.
    """
    cv2.setNumThreads(0)


def _begin(_worker: int) -> None:
    """A cluster tells all processes of a job to end; those that load are still needed for the batch before the end."""
    decode_in_one_thread()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@cache
def _end_loaders_at_exit() -> None:
    atexit.register(_end_loaders)


def _end_loaders() -> None:
    """Ends loaders that an error has left: Python would ask them with SIGTERM, and wait for ever."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
