"""How much the exact evaluator costs beyond the matrix product it cannot avoid.

    python -m scripts.benchmark_retrieval --sizes 1678x11579 3000x41861 --pairs 5

For each size: made-up features, a first evaluation whose peak memory is reported, then pairs of (bare blocked product,
evaluation) in turn, so that whatever else the machine does hits both. The bare product takes the fastest of several
block shapes and of torch's and NumPy's BLAS. Prints a Markdown table.
"""

import argparse
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.retrieval import RetrievalResult, evaluate

POSITIVES = 50  # gallery images of each identity, on average
CAMERAS = 20
MAX_BLOCK = 32 * 2**20  # distances in a block of the bare product


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1678x11579"], metavar="QUERIESxGALLERY")
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--features", nargs="+", choices=["random", "trained"], default=["random", "trained"])
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()

    print("| queries × gallery | features | bare product, s | evaluate, s | ratio | above the features, MB | mAP |")
    print("|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        for kind in arguments.features:
            # Peak memory belongs to a process, so each line gets its own.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                print(pool.submit(line, size, arguments.dimensions, kind, arguments.pairs).result(), flush=True)
    print(f"\nMedians of {arguments.pairs} pairs, {arguments.dimensions} dimensions. {machine()}")


def line(size: str, dimensions: int, kind: str, pairs: int) -> str:
    n_queries, n_gallery = map(int, size.split("x"))
    task = Task(n_queries, n_gallery, dimensions, separation=0.6 if kind == "trained" else 0.0)
    before = peak_memory()
    result = task.evaluate()
    memory = (peak_memory() - before) / 1e6
    product = fastest_product(task.query, task.gallery)
    bare, full = [], []
    for _ in range(pairs):
        bare.append(seconds(product))
        full.append(seconds(task.evaluate))
    ratio = statistics.median(b / a for a, b in zip(bare, full, strict=True))
    times = f"{statistics.median(bare):.2f} | {statistics.median(full):.2f} | {ratio:.2f}"
    return f"| {n_queries:,} × {n_gallery:,} | {kind} | {times} | {memory:.0f} | {result.mAP:.3f} |"


class Task:
    """Unit features of vehicles; each image carries its identity's direction with a strength of its own."""

    def __init__(self, n_queries: int, n_gallery: int, dimensions: int, separation: float) -> None:
        generator = torch.Generator().manual_seed(0)
        identities = max(n_gallery // POSITIVES, 1)
        centres = torch.randn(identities, dimensions, generator=generator)

        def images(count: int) -> tuple[Tensor, Tensor, Tensor]:
            ids = torch.randint(identities, (count,), generator=generator)
            features = torch.empty(count, dimensions)
            for part, own in zip(features.split(1024), ids.split(1024), strict=True):
                strength = separation * torch.rand(len(own), 1, generator=generator)
                part.normal_(generator=generator).mul_((1 - strength**2).sqrt()).add_(strength * centres[own])
                part.div_(part.norm(dim=1, keepdim=True))
            return features, ids, torch.randint(CAMERAS, (count,), generator=generator)

        self.query, self._query_ids, self._query_cameras = images(n_queries)
        self.gallery, self._gallery_ids, self._gallery_cameras = images(n_gallery)

    def evaluate(self) -> RetrievalResult:
        """What is timed."""
        return evaluate(
            self.query,
            self.gallery,
            self._query_ids,
            self._gallery_ids,
            query_cameras=self._query_cameras,
            gallery_cameras=self._gallery_cameras,
            ignore="same_camera",
        )


def fastest_product(query: Tensor, gallery: Tensor) -> Callable[[], None]:
    """The blocked product in the shape and library that is quickest on a part of this task."""
    trial = query[:1024], gallery[:16384]
    shapes = [(rows, columns) for rows in (256, 512, 1024) for columns in (2048, 8192, 65536)]
    candidates = [
        (multiply, rows, columns)
        for multiply in (torch_product, numpy_product)
        for rows, columns in shapes
        if rows * columns <= MAX_BLOCK
    ]

    def cost(candidate: tuple[Callable[..., None], int, int]) -> float:
        multiply, rows, columns = candidate
        return min(seconds(lambda: multiply(*trial, rows, columns)) for _ in range(3))

    multiply, rows, columns = min(candidates, key=cost)
    return lambda: multiply(query, gallery, rows, columns)


def torch_product(query: Tensor, gallery: Tensor, rows: int, columns: int) -> None:
    block = torch.empty(min(rows, len(query)), min(columns, len(gallery)))
    for queries in query.split(rows):
        for entries in gallery.split(columns):
            torch.mm(queries, entries.T, out=block[: len(queries), : len(entries)])


def numpy_product(query: Tensor, gallery: Tensor, rows: int, columns: int) -> None:
    block = np.empty((min(rows, len(query)), min(columns, len(gallery))), dtype=np.float32)
    for queries in query.split(rows):
        for entries in gallery.split(columns):
            np.matmul(queries.numpy(), entries.numpy().T, out=block[: len(queries), : len(entries)])


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((row.split(":")[1].strip() for row in info.read_text().splitlines() if "model name" in row), cpu)
    versions = f"torch {torch.__version__}, NumPy {np.__version__}, Python {platform.python_version()}"
    return f"{cpu}, {torch.get_num_threads()} threads, {versions}, {datetime.now(UTC):%Y-%m-%d}."


if __name__ == "__main__":
    main()
