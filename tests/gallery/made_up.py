"""A gallery of made-up images: what embeds them gives each a random feature of its own, as quickly as can be."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from src.data import make_table
from src.gallery import build
from src.gallery.gallery_meta import GalleryMeta
from src.methods.tta import Views

DIMENSIONS = 12
#: With which nothing is missed.
THOROUGH = {
    "exact": {},
    "torch": {},
    "ivf_flat": {"n_lists": 4, "n_probes": 4},
    "ivf_pq": {"n_lists": 2, "n_probes": 2, "pq_bytes": 12},
    "hnsw": {"ef_search": 2000},
}


def feature(path, salt=""):
    seed = int.from_bytes(hashlib.sha256(f"{Path(path).name}{salt}".encode()).digest()[:4])
    values = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (values / np.linalg.norm(values)).astype(np.float32)


@dataclass
class MadeUp:
    """An embedder; `checkpoint` is a file, whose content is the salt of its features."""

    checkpoint: Path
    precision: str = "32-true"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    engine: str = "torch"
    calibration: None = None
    method: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(views=Views(), provenance={}, test_options=())
    )
    seen: list = field(default_factory=list)

    def batches(self, paths, domains, boxes):
        self.seen += paths
        yield np.stack([feature(path, self.checkpoint.read_text()) for path in paths])


def embedder(folder, name="one"):
    (folder / name).write_text(name)
    return MadeUp(folder / name)


def table(numbers, root="/cars", **columns):
    numbers = [*numbers]
    facts = {"camera_id": [1 + n % 3 for n in numbers], "timestamp": [1e9 + n for n in numbers]}
    return make_table(root, "cars", {"path": [f"{n}.jpg" for n in numbers], "split": "gallery"} | facts | columns)


def make(folder, numbers, kind="exact", milvus=None, name="gallery"):
    """Builds a gallery of images with these numbers; returns its folder and what embeds."""
    embeds, out = embedder(folder), folder / name
    about = GalleryMeta(time_unit="unix")
    build.build_gallery(table(numbers), embeds, out, about, kind=kind, options=THOROUGH[kind], milvus=milvus)
    return out, embeds


def paths(gallery):
    return gallery.table["path"].tolist()
