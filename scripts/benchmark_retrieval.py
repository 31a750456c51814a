"""How much the exact evaluator costs beyond the matrix product it cannot avoid.

    python scripts/benchmark_retrieval.py --sizes 1678x11579 3000x41861 --pairs 5

For each size: made-up features, one warm-up whose peak memory is reported, then pairs of (bare blocked product,
evaluation) in turn, so that whatever else the machine does hits both. The bare product uses the fastest of several
block shapes and of torch's and NumPy's BLAS. Prints a Markdown table.
"""

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.retrieval import evaluate

POSITIVES = 50  # gallery images of each identity, on average
CAMERAS = 20
BLOCK_BYTES = 128 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1678x11579"], metavar="QUERIESxGALLERY")
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--features", nargs="+", choices=["random", "trained"], default=["random", "trained"])
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()

    print("| queries × gallery | features | bare product, s | evaluate, s | ratio | memory above the features, MB | mAP |")
    print("|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        for kind in arguments.features:
            child = os.fork()  # peak memory belongs to a process: each line gets its own
            if child == 0:
                n_queries, n_gallery = map(int, size.split("x"))
                print(line(n_queries, n_gallery, arguments.dimensions, kind, arguments.pairs), flush=True)
                os._exit(0)
            os.waitpid(child, 0)
    print(f"\n{machine()}")


def line(n_queries: int, n_gallery: int, dimensions: int, kind: str, pairs: int) -> str:
    task = Task(n_queries, n_gallery, dimensions, separation=0.6 if kind == "trained" else 0.0)
    before = peak_memory()
    result = task.evaluate()
    memory = (peak_memory() - before) / 1e6
    product = fastest_product(task)
    bare, full = [], []
    for _ in range(pairs):
        bare.append(seconds(product))
        full.append(seconds(task.evaluate))
    ratio = statistics.median(b / a for a, b in zip(bare, full, strict=True))
    medians = f"{statistics.median(bare):.2f} | {statistics.median(full):.2f} | {ratio:.2f}"
    return f"| {n_queries:,} × {n_gallery:,} | {kind} | {medians} | {memory:.0f} | {result.mAP:.3f} |"
