"""Row by row on plain threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def for_each_row(function: Callable[[int], None], rows: int) -> None:
    """Calls `function` with every row number, on as many threads as torch uses.

    NumPy's loops release the interpreter and run side by side. Torch's own threads are left out on purpose: after a
    NumPy product the two pools would spin waiting for each other's cores.
    """
    threads = max(1, min(torch.get_num_threads(), rows))

    def share(first: int) -> None:
        for row in range(first, rows, threads):
            function(row)

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(share, first) for first in range(threads)]:
            done.result()


def map_rows(function: Callable[[int], T], rows: int) -> list[T]:
    """What `function` makes of every row number, computed like `for_each_row`."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, range(rows)))
