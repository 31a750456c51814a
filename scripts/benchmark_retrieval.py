"""What exact evaluation and re-ranking cost, beside the matrix product that they cannot avoid.

    python -m scripts.benchmark_retrieval --sizes 1678x11579 3000x41861 --pairs 5
    python -m scripts.benchmark_retrieval --work rerank

For each size: made-up features, a first run whose peak memory is reported, then rounds of (blocked torch.mm, the
fastest blocked product of NumPy's and oneDNN's, the work itself) in turn, so that whatever else the machine does hits
all. Both products take the fastest of several block shapes. Prints a Markdown table.
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

from src.retrieval import FeatureDistance, KReciprocalDistance, Relevance, RetrievalResult, evaluate_distance

POSITIVES = 50  # gallery images of each identity, on average
CAMERAS = 20
MAX_BLOCK = 32 * 2**20  # distances in a block of the bare product


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=["evaluate", "rerank"], default="evaluate")
    parser.add_argument("--sizes", nargs="+", default=["1678x11579"], metavar="QUERIESxGALLERY")
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--features", nargs="+", choices=["random", "trained"], default=["random", "trained"])
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()

    print(
        f"| queries × gallery | features | torch.mm, s | fastest product, s | {arguments.work}, s "
        "| of torch.mm | of the fastest | memory above the features, MB | mAP |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        for kind in arguments.features:
            # Peak memory belongs to a process, so each line gets its own.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                job = pool.submit(line, arguments.work, size, arguments.dimensions, kind, arguments.pairs)
                print(job.result(), flush=True)
    print(f"\nMedians of {arguments.pairs} rounds, {arguments.dimensions} dimensions. {machine()}")


def line(kind_of_work: str, size: str, dimensions: int, kind: str, rounds: int) -> str:
    n_queries, n_gallery = map(int, size.split("x"))
    task = Task(n_queries, n_gallery, dimensions, separation=0.6 if kind == "trained" else 0.0)
    work = task.rerank if kind_of_work == "rerank" else task.evaluate
    before = peak_memory()
    result = work()
    memory = (peak_memory() - before) / 1e6
    left, right = (task.images, task.images) if kind_of_work == "rerank" else (task.query, task.gallery)
    plain = fastest_product(left, right, [torch_product])
    best = fastest_product(left, right, [numpy_product, onednn_product])
    times = [(seconds(plain), seconds(best), seconds(work)) for _ in range(rounds)]
    median = [statistics.median(column) for column in zip(*times, strict=True)]
    ratios = [statistics.median(one[2] / one[which] for one in times) for which in (0, 1)]
    numbers = " | ".join(f"{number:.2f}" for number in (*median, *ratios))
    return f"| {n_queries:,} × {n_gallery:,} | {kind} | {numbers} | {memory:.0f} | {result.mAP:.3f} |"


class Task:
    """Unit features of vehicles; each image carries its identity's direction with a strength of its own."""

    def __init__(self, n_queries: int, n_gallery: int, dimensions: int, separation: float) -> None:
        generator = torch.Generator().manual_seed(0)
        identities = max(n_gallery // POSITIVES, 1)
        centres = torch.randn(identities, dimensions, generator=generator)

        count = n_queries + n_gallery
        ids = torch.randint(identities, (count,), generator=generator)
        cameras = torch.randint(CAMERAS, (count,), generator=generator)
        self.images = torch.empty(count, dimensions)  # the queries, then the gallery
        for part, own in zip(self.images.split(1024), ids.split(1024), strict=True):
            strength = separation * torch.rand(len(own), 1, generator=generator)
            part.normal_(generator=generator).mul_((1 - strength**2).sqrt()).add_(strength * centres[own])
            part.div_(part.norm(dim=1, keepdim=True))
        self.query, self.gallery = self.images.split([n_queries, n_gallery])
        self._relevance = Relevance(
            ids[:n_queries],
            ids[n_queries:],
            query_cameras=cameras[:n_queries],
            gallery_cameras=cameras[n_queries:],
            ignore="same_camera",
        )

    def evaluate(self) -> RetrievalResult:
        """What is timed for `--work evaluate`."""
        return evaluate_distance(FeatureDistance(self.query, self.gallery), self._relevance)

    def rerank(self) -> RetrievalResult:
        """What is timed for `--work rerank`, features already in one array."""
        everything = FeatureDistance(self.images, self.images)
        return evaluate_distance(KReciprocalDistance(everything, len(self.query)), self._relevance)


def fastest_product(query: Tensor, gallery: Tensor, products: list[Callable[..., None]]) -> Callable[[], None]:
    """The blocked product in the library and shape that is quickest on a part of this task."""
    trial = query[:1024], gallery[:16384]
    candidates = [
        (multiply, rows, columns)
        for multiply in products
        for rows in (256, 512, 1024)
        for columns in (2048, 8192, 65536)
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


def onednn_product(query: Tensor, gallery: Tensor, rows: int, columns: int) -> None:
    for queries in query.split(rows):
        packed = queries.to_mkldnn()
        for entries in gallery.split(columns):
            torch.nn.functional.linear(packed, entries)


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
