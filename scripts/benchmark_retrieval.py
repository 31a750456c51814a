"""What exact evaluation and re-ranking cost, beside the matrix product that they cannot avoid; what indexes save.

    python -m scripts.benchmark_retrieval --sizes 1678x11579 3000x41861 --pairs 5
    python -m scripts.benchmark_retrieval --work rerank
    python -m scripts.benchmark_retrieval --work index --sizes 500x50000 --dimensions 512

For each size: made-up features, a first run whose peak memory is reported, then rounds of (blocked torch.mm, the
fastest blocked product of NumPy's and oneDNN's, the work itself) in turn, so that whatever else the machine does hits
all. Both products take the fastest of several block shapes. The dense code of `dense_retrieval` runs once, in a
process of its own, where it needs no more than `--dense-gb`. Prints a Markdown table.
"""

import argparse
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.dense_retrieval import dense_k_reciprocal, dense_map, squared_distances
from src.retrieval import (
    FeatureDistance,
    Index,
    IndexKind,
    KReciprocalDistance,
    Relevance,
    RetrievalResult,
    evaluate_distance,
    recall,
    search,
)

POSITIVES = 50  # gallery images of each identity, on average
CAMERAS = 20
MAX_BLOCK = 32 * 2**20  # distances in a block of the bare product
DENSE_BYTES = {"evaluate": 20, "rerank": 24}  # for each distance: matrices, their order, intermediate results
K = 20  # neighbours asked of an index
ALONE = 50  # queries asked one at a time
INDEXES: list[tuple[IndexKind, dict[str, Any]]] = [
    ("exact", {}),
    ("torch", {}),
    ("ivf_flat", {}),
    ("ivf_flat", {"n_probes": 64}),
    ("ivf_pq", {"n_probes": 64}),
    ("ivf_pq", {"n_probes": 64, "pq_bytes": 128}),
    ("hnsw", {}),
    ("hnsw", {"ef_search": 512}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=["evaluate", "rerank", "index"], default="evaluate")
    parser.add_argument("--sizes", nargs="+", default=["1678x11579"], metavar="QUERIESxGALLERY")
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--features", nargs="+", choices=["random", "trained"], default=["random", "trained"])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--dense-gb", type=float, default=8)
    arguments = parser.parse_args()
    if arguments.work == "index":
        for size in arguments.sizes:
            print_indexes(size, arguments.dimensions)
        print(f"\n{machine()}")
        return

    print(
        f"| queries × gallery | features | torch.mm, s | fastest product, s | {arguments.work}, s "
        "| of torch.mm | of the fastest | memory above the features, MB | dense, s | its memory, MB | mAP | dense mAP |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        for kind in arguments.features:
            common = arguments.work, size, arguments.dimensions, kind
            ours = in_own_process(line, *common, arguments.pairs)
            dense = in_own_process(dense_cells, *common, arguments.dense_gb)
            print("|", " | ".join([*ours[:-1], *dense[:-1], ours[-1], dense[-1]]), "|", flush=True)
    print(f"\nMedians of {arguments.pairs} rounds, {arguments.dimensions} dimensions. {machine()}")


def in_own_process(function: Callable[..., list[str]], *arguments: object) -> list[str]:
    """Peak memory belongs to a process, so each measurement gets its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def line(kind_of_work: str, size: str, dimensions: int, kind: str, rounds: int) -> list[str]:
    task = Task(size, dimensions, kind)
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
    numbers = [f"{number:.2f}" for number in (*median, *ratios)]
    return [f"{len(task.query):,} × {len(task.gallery):,}", kind, *numbers, f"{memory:.0f}", f"{result.mAP:.3f}"]


def dense_cells(kind_of_work: str, size: str, dimensions: int, kind: str, limit_gb: float) -> list[str]:
    n_queries, n_gallery = map(int, size.split("x"))
    pairs = (n_queries + n_gallery) ** 2 if kind_of_work == "rerank" else n_queries * n_gallery
    if pairs * DENSE_BYTES[kind_of_work] > limit_gb * 1e9:
        return ["–", "–", "–"]
    task = Task(size, dimensions, kind)
    work = dense_k_reciprocal if kind_of_work == "rerank" else squared_distances
    before, start = peak_memory(), time.perf_counter()
    value = dense_map(work(task.query, task.gallery), *task.labels)
    return [f"{time.perf_counter() - start:.2f}", f"{(peak_memory() - before) / 1e6:.0f}", f"{value:.3f}"]


def print_indexes(size: str, dimensions: int) -> None:
    task = Task(size, dimensions, "trained")
    exact = search(task.query, task.gallery, K + 16, backend="torch")  # a few more show ties
    print(f"\n{len(task.query):,} × {len(task.gallery):,}, {dimensions} dimensions:\n")
    print(f"| index | options | build, s | ms a query, alone | together | recall@{K} | MB |")
    print("|---|---|---|---|---|---|---|")
    for kind, options in INDEXES:
        start = time.perf_counter()
        index = Index.build(task.gallery, kind, **options)
        built = time.perf_counter() - start
        start = time.perf_counter()
        for query in (few := task.query[:ALONE]):
            index.search(query[None], K)
        alone = (time.perf_counter() - start) / len(few)
        start = time.perf_counter()
        found = index.search(task.query, K)
        together = (time.perf_counter() - start) / len(task.query)
        with tempfile.TemporaryDirectory() as folder:
            index.save(Path(folder))
            size_mb = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        chosen = ", ".join(f"{name} {value}" for name, value in index.options.items() if name != "seed")
        cells = [f"{built:.1f}", f"{1e3 * alone:.2f}", f"{1e3 * together:.2f}", f"{recall(found, exact):.3f}"]
        print("|", " | ".join([kind, chosen, *cells, f"{size_mb:.1f}"]), "|", flush=True)


class Task:
    """Unit features of vehicles; each image carries its identity's direction with a strength of its own."""

    def __init__(self, size: str, dimensions: int, kind: str) -> None:
        n_queries, n_gallery = map(int, size.split("x"))
        separation = 0.6 if kind == "trained" else 0.0
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
        self.labels = [(values[:n_queries].numpy(), values[n_queries:].numpy()) for values in (ids, cameras)]
        (query_ids, gallery_ids), (query_cameras, gallery_cameras) = self.labels
        self._relevance = Relevance(
            query_ids,
            gallery_ids,
            query_cameras=query_cameras,
            gallery_cameras=gallery_cameras,
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
