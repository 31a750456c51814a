"""What it costs to change a gallery: inserts, deletions, how long until they are found, and the recall that is left.

    python -m scripts.benchmark_gallery --images 20000 --dimensions 512 --kinds exact ivf_flat hnsw milvus

Made-up features with vehicles in them, as `benchmark_retrieval` has them; the network's time is not in it. An open
gallery looks after each change, as a page does. Recall is that of the exact lists of the same images; an index built
anew of what is left stands beside it. Prints a Markdown table.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from scripts.benchmark_retrieval import machine
from src.data import make_table
from src.embed import Embedder
from src.gallery import Gallery
from src.gallery.build import build_gallery
from src.gallery.gallery_changes import Changes
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.milvus import LITE, Milvus
from src.methods.tta import Views
from src.retrieval import Index, IndexKind, recall, search

BATCHES = ((1, 20), (100, 10), (1000, 3))  # images added at once, and how often
IMAGES_A_VEHICLE, SPREAD, K, QUERIES = 50, 0.6, 10, 200


@dataclass
class Known:
    """An embedder that knows the features of all images by their number."""

    features: NDArray[np.float32]
    checkpoint: Path
    precision: str = "32-true"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    method: Any = field(default_factory=lambda: SimpleNamespace(views=Views()))

    def batches(self, paths: list[Path], *_: Any) -> Iterator[NDArray[np.float32]]:
        """Features of images by their names."""
        yield self.features[[int(path.stem) for path in paths]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--kinds", nargs="+", default=["exact", "torch", "ivf_flat", "ivf_pq", "hnsw", "milvus"])
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(
        "| kind | build, s | "
        + " | ".join(f"images/s, {count} at once" for count, _ in BATCHES)
        + " | ms until one is found | delete 10 %, s | until it is gone, ms | recall@10 after | built anew |"
    )
    print("|---" * (len(BATCHES) + 7) + "|")
    for kind in given.kinds:
        print(line(kind, given.images, given.dimensions), flush=True)
    print(f"\n{given.images:,} images of {given.dimensions} dimensions. {machine()}")


def line(kind: str, images: int, dimensions: int) -> str:
    rng = np.random.default_rng(0)
    added = sum(count * times for count, times in BATCHES)
    vehicles = rng.normal(size=(images // IMAGES_A_VEHICLE, dimensions))

    def made(count: int) -> NDArray[np.float32]:
        values = SPREAD * vehicles[rng.integers(len(vehicles), size=count)] + rng.normal(size=(count, dimensions))
        return cast(NDArray[np.float32], (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32))

    features, query = made(images + added), made(QUERIES)
    index_kind = cast(IndexKind, "exact" if kind == "milvus" else kind)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "gallery")
        out.mkdir()
        (checkpoint := Path(place, "last.ckpt")).write_text("made up")
        embedder = cast(Embedder, Known(features, checkpoint))
        milvus = Milvus(str(out / LITE)) if kind == "milvus" else None
        start = time.perf_counter()
        build_gallery(table(range(images)), embedder, out, GalleryMeta(), kind=index_kind, milvus=milvus)
        build = time.perf_counter() - start
        changes, gallery, rates, waits, first = Changes(out, milvus), Gallery.open(out), [], [], images
        for count, times in BATCHES:
            seconds = []
            for _ in range(times):
                start = time.perf_counter()
                changes.add(table(range(first, first + count)), embedder)
                seconds.append(time.perf_counter() - start)
                gallery = gallery.refreshed()
                ((hit, *_),) = gallery.search(features[first : first + 1], 1)
                if count == 1:
                    waits.append(time.perf_counter() - start)
                if gallery.numbers[hit.row] != first and kind in ("exact", "torch"):
                    raise RuntimeError("An image that was added is not found.")
                first += count
            rates.append(count / statistics.median(seconds))
        gone = rng.random(first) < 0.1
        start = time.perf_counter()
        changes.delete(lambda _: gone)
        deleted = time.perf_counter() - start
        start = time.perf_counter()
        gallery = gallery.refreshed()
        gallery.search(query[:1], K)
        seen = time.perf_counter() - start
        exact = search(query, gallery.features, K + 10)
        ours = recall(found(gallery, query), exact)
        anew = recall(Index.build(gallery.features, index_kind).search(query, K), exact)
    numbers = [f"{build:.1f}", *(f"{rate:,.0f}" for rate in rates), f"{1000 * statistics.median(waits):.0f}"]
    rest = [f"{deleted:.2f}", f"{1000 * seen:.0f}", f"{ours:.3f}", f"{anew:.3f}"]
    return f"| {kind} | " + " | ".join([*numbers, *rest]) + " |"


def found(gallery: Gallery, query: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    lists = gallery.search(query, K)
    rows = np.array([[hit.row for hit in hits] for hits in lists])
    scores = np.array([[hit.score for hit in hits] for hits in lists])
    return rows, np.sqrt((2 - 2 * scores).clip(min=0)).astype(np.float32)


def table(numbers: range) -> pd.DataFrame:
    columns = {"path": [f"{number}.jpg" for number in numbers], "split": "gallery", "camera_id": 1}
    return make_table("/cars", "cars", columns)


if __name__ == "__main__":
    main()
