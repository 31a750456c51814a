"""Makes the masks of a data set that has none, with a segmentation model of torchvision.

    python -m scripts.make_masks weights=deeplabv3_resnet101_coco-586e9e4e.pth data=cityflow data.root=/data/cityflow

Masks are PNGs (255 where a vehicle is) in `masks/` in the data set's folder, where `transforms.background` looks for
them, and a CSV file says the same for `data.extra`. Masks that are there already stay, so a stopped run goes on; images
in which the model sees no vehicle get none.
"""

import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from src.config.checks import check_command
from src.config.schema import MakeMasksConfig
from src.data import image_path, read_image
from src.networks.backbone.weights import read_state_dict
from src.runtime.command import command
from src.runtime.errors import ConfigError
from src.runtime.progress import tracked
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of all of torchvision's weights


@command("make_masks")
def main(cfg: DictConfig) -> None:
    run(cfg)


def run(cfg: DictConfig) -> pd.DataFrame:
    """Writes the masks and the CSV file; returns path and mask of each image that has one."""
    check_command(cfg, MakeMasksConfig)
    model, vehicles = load_model(cfg.model, cfg.weights, list(cfg.classes))
    if not cfg.get("data"):
        raise ConfigError("Whose masks? Pass data=<data set> and data.root=<its folder>.")
    if "sources" in cfg.data:
        raise ConfigError(f"{cfg.data.name} is a pool; make the masks of each of its sources.")
    table = instantiate(cfg.data.layout, _convert_="all").read()
    table = table[table["split"].isin([*cfg.splits])].drop_duplicates("path")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.eval().to(device)
    paths, masks = [], []
    for row in tracked(table.index, "Masks", len(table)):
        path = str(table.loc[row, "path"])
        name = cfg.mask_files.replace("{path}", path.rpartition(".")[0])
        file = Path(table.loc[row, "root"]) / name
        if not file.is_file():
            mask = vehicle_mask(model, read_image(image_path(table, row)), vehicles, cfg.size)
            if not mask.any():
                continue
            write_atomically(file, cv2.imencode(".png", 255 * mask)[1].tobytes())
        paths.append(path)
        masks.append(name)
    made = pd.DataFrame({"path": paths, "mask": masks})
    out = Path(cfg.paths.run_dir) / cfg.out
    write_atomically(out, made.to_csv(index=False))
    log.info("%d of %d images have a mask now: %s", len(made), len(table), out)
    return made


def load_model(name: str, weights: str | None, classes: list[str]) -> tuple[nn.Module, list[int]]:
    """A segmentation model, and which of its outputs are vehicles.

    Args:
        name: Of torchvision.
        weights: A local file, as torchvision offers it for this model.
        classes: Names of the vehicles among what it tells apart.

    Raises:
        ConfigError: If there is no such model, no weights are given, or a class is unknown.
    """
    known = models.list_models(module=models.segmentation)
    if name not in known:
        raise ConfigError(f"model is {name!r}, expected one of {', '.join(known)}.")
    offered = models.get_model_weights(name).DEFAULT
    if weights is None:
        raise ConfigError(f"Get {offered.url} and pass weights=<that file>: without it {name} knows no vehicles.")
    categories: list[str] = offered.meta["categories"]
    if unknown := sorted(set(classes) - set(categories)):
        raise ConfigError(f"classes names {unknown[0]!r}, expected some of {', '.join(categories[1:])}.")
    model = models.get_model(name, weights=None, weights_backbone=None, num_classes=len(categories))
    state = {key: value for key, value in read_state_dict(weights).items() if not key.startswith("aux_classifier.")}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"{weights} does not fit {name}, whose weights are {offered.url}.") from error
    return model, [categories.index(vehicle) for vehicle in classes]


@torch.inference_mode()
def vehicle_mask(model: nn.Module, image: NDArray[np.uint8], vehicles: list[int], size: int) -> NDArray[np.uint8]:
    """1 where one of the vehicles is the most probable class, else 0, `(H, W)`.

    Args:
        model: In evaluation mode.
        image: RGB, `(H, W, 3)`.
        vehicles: Places of the vehicles among the model's classes.
        size: The image's shorter side for the model.
    """
    device = next(model.parameters()).device
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].to(device) / 255
    scale = size / min(image.shape[:2])
    sides = [round(side * scale) for side in image.shape[:2]]
    resized = F.interpolate(pixels, sides, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (_MEAN, _STD))
    logits: Tensor = model((resized - mean) / std)["out"]
    logits = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
    found = torch.isin(logits.argmax(dim=1)[0], torch.tensor(vehicles, device=device))
    return found.to(torch.uint8).cpu().numpy()


if __name__ == "__main__":
    main()
