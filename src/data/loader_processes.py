"""Loader processes that end with the process that they load for, and not before."""

import atexit
import multiprocessing
import signal


def ignore_sigterm(_worker: int) -> None:
    """A cluster tells all processes of a job to end; those that load are still needed for the batch before the end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@atexit.register
def _end_loaders() -> None:
    """Ends loaders that an error has left: Python would ask them with SIGTERM, and wait for ever."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
