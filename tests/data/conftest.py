from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.table import make_table


@pytest.fixture
def write_image() -> Callable[..., np.ndarray]:
    """Writes a random image (RGB in memory) and returns it; use a lossless format to get the same pixels back."""

    def write(path: Path, height: int = 12, width: int = 10, seed: int = 0) -> np.ndarray:
        image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image[..., ::-1])
        return image

    return write


@pytest.fixture
def day_night_table():
    """Training rows with uneven counts: vehicle → (day images, night images); vehicle 4 lacks night images."""

    def build(counts: dict[int, tuple[int, int]], dataset: str = "tiny"):
        ids, domains = [], []
        for vehicle, both in counts.items():
            for domain, count in zip(("day", "night"), both, strict=True):
                ids += [vehicle] * count
                domains += [domain] * count
        paths = [f"{number}.png" for number in range(len(ids))]
        return make_table("r", dataset, {"path": paths, "split": "train", "vehicle_id": ids, "domain": domains})

    return build
