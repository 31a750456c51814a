"""What it costs in mAP to blur where number plates are.

    python -m scripts.blur_cost --root data/quickstart_veri [--checkpoint <run>/stages/main/last.ckpt]

Without a checkpoint the network is EfficientNet-Lite0 with ImageNet's weights, untrained. Where the plates are, the
data sets do not say: the region is the same part of every picture, the middle 30 % of its width and from 60 to 85 % of
its height, where a plate is on a vehicle seen from the front or behind, and where bodywork is on others. Prints a
Markdown table.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf

from scripts.benchmark_retrieval import machine
from src.checkpoints.restore import build_method
from src.data import image_path, read_image
from src.data.blurring import blurred
from src.data.layouts.veri776 import VeRi776
from src.embed import Embedder
from src.retrieval import evaluate
from src.runtime.command import CONF_DIR
from src.runtime.resolvers import register_resolvers

REGION = (0.35, 0.60, 0.65, 0.85)  # left, top, right, bottom, in parts of the picture
_AT_ONCE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/quickstart_veri"))
    parser.add_argument("--checkpoint", type=Path)
    given = parser.parse_args()
    table = VeRi776(given.root, "veri776").read()
    with tempfile.TemporaryDirectory() as place:
        embedder = Embedder(given.checkpoint or untrained(Path(place)))
        found = {}
        for split in ("query", "gallery"):
            rows = np.flatnonzero(table["split"] == split)
            found[split] = {blur: features(embedder, table, rows, blur) for blur in (False, True)}
    ids, cameras = (
        {split: table.loc[table["split"] == split, name].to_numpy() for split in found}
        for name in ("vehicle_id", "camera_id")
    )
    print("| blurred | mAP | R1 |\n|---|---|---|")
    for name, query, gallery in (("nothing", False, False), ("the gallery", False, True), ("both", True, True)):
        result = evaluate(
            found["query"][query],
            found["gallery"][gallery],
            ids["query"],
            ids["gallery"],
            query_cameras=cameras["query"],
            gallery_cameras=cameras["gallery"],
            ignore="same_camera",
        )
        print(f"| {name} | {result.mAP:.3f} | {result.cmc(1):.3f} |")
    counts = ", ".join(f"{len(ids[split]):,} {split} images" for split in ids)
    print(f"\n{given.root}: {counts}. {machine()}")


def features(embedder: Embedder, table: pd.DataFrame, rows: NDArray[np.int64], blur: bool) -> NDArray[np.float32]:
    def pictures() -> Iterator[list[NDArray[np.uint8]]]:
        for start in range(0, len(rows), _AT_ONCE):
            yield [picture(table, row, blur) for row in rows[start : start + _AT_ONCE]]

    return np.concatenate([embedder(images) for images in pictures()])


def picture(table: pd.DataFrame, row: int, blur: bool) -> NDArray[np.uint8]:
    image = read_image(image_path(table, row))
    height, width = image.shape[:2]
    left, top, right, bottom = REGION
    return blurred(image, [(left * width, top * height, right * width, bottom * height)] if blur else [])


def untrained(folder: Path) -> Path:
    """A checkpoint of EfficientNet-Lite0 with ImageNet's weights."""
    register_resolvers()
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        overrides = ["method=bot", "backbone=efficientnet_lite0", f"paths.run_dir={folder}"]
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    cfg.name = "untrained"
    method = build_method(cfg, 2, {})
    reid = {"config": OmegaConf.to_container(cfg, resolve=True), "stage": "main", "labels": [["a", 0], ["a", 1]]}
    torch.save({"state_dict": method.state_dict(), "reid": reid}, folder / "last.ckpt")
    return folder / "last.ckpt"


if __name__ == "__main__":
    main()
