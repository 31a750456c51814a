"""Loops on plain threads, each of which has one core to itself."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")


def for_each(function: Callable[[int], None], count: int) -> None:
    """Calls `function` with 0 … count − 1, on as many threads as torch uses.

    Large torch and NumPy operations release the interpreter and run side by side. Inside, torch keeps to one thread:
    whole pipelines in parallel wait for nobody, whereas operation after operation on all threads waits at each end,
    and the idle threads of torch, MKL and OpenBLAS spin on cores that another library needs.
    """
    threads = torch.get_num_threads()
    if threads == 1 or count <= 1:
        for number in range(count):
            function(number)
        return
    numbers = iter(range(count))
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def work(_: int) -> None:
        # Both modes are a thread's own: without them a tensor of the caller's could not be written to.
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            for number in numbers:  # shared: each thread takes the next
                function(number)

    list(_pool(threads).map(work, range(threads)))


def map_each(function: Callable[[int], T], count: int) -> list[T]:
    """Results of `function` for 0 … count − 1, computed like `for_each`."""
    results: dict[int, T] = {}
    for_each(lambda number: results.update({number: function(number)}), count)
    return [results[number] for number in range(count)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    ready = threading.Barrier(threads + 1)

    def start() -> None:
        torch.get_num_threads()  # a thread takes over the common setting when it first asks, so it asks now
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(threads, "whole blocks", initializer=start)
    for _ in range(threads):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)  # the threads' setting is their own, but also becomes that of new ones
    return pool


if hasattr(os, "register_at_fork"):  # which Windows lacks, as it lacks fork
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive one
