"""Makes boxes of the vehicles of a data set, with a detector: VehicleNet's second look at each image.

    python -m scripts.make_boxes detector=yolox.onnx data=cityflow data.root=/data/cityflow out=boxes.csv
    python -m src.evaluate checkpoint=… data=cityflow data.extra=boxes.csv

The CSV file has a line `path,box` for each image; where no vehicle was found the box is empty, the image stays whole.
Images that have a box in the data set keep it and are left out, damaged ones are named and left out. A stopped run goes
on where the same file is given; a JSON file beside it counts and names what was found.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig

from src.config.checks import check_command
from src.config.schema import MakeBoxesConfig
from src.data import image_path, read_image
from src.data.table import DataError
from src.runtime.command import command
from src.runtime.errors import ConfigError
from src.runtime.json_files import write_json
from src.runtime.progress import tracked
from src.runtime.provenance import file_sha
from src.runtime.whole_files import write_atomically
from src.video.detections import Detections, Detector, Selection, class_numbers
from src.video.detectors import make_detector

log = logging.getLogger(__name__)

_PAUSE = 20.0  # seconds between two versions of the file, which a killed run loses at most
_GREY = (114, 114, 114)
Image = NDArray[np.uint8]


@command("make_boxes")
def main(cfg: DictConfig) -> None:
    run(cfg)


def run(cfg: DictConfig) -> pd.DataFrame:
    """Finds the boxes that are not there yet and writes the files; returns path and box of each image."""
    check_command(cfg, MakeBoxesConfig)
    if not cfg.get("data"):
        raise ConfigError("Whose boxes? Pass data=<data set> and data.root=<its folder>.")
    if "sources" in cfg.data:
        raise ConfigError(f"{cfg.data.name} is a pool; make the boxes of each of its sources.")
    names = None if cfg.names is None else tuple(cfg.names)
    detector = make_detector(cfg.detector, weights=cfg.weights, names=names, device=cfg.device, threads=0)
    selection = Selection(class_numbers(detector.names, list(cfg.classes)), cfg.score, min_side=1)
    result = Boxes.taken_up(Path(cfg.out), _made_by(cfg))
    table = instantiate(cfg.data.layout, _convert_="all").read()
    table = table[table["split"].isin([*cfg.splits])].drop_duplicates("path")
    own = table["box"] != ""
    files = {str(table.loc[row, "path"]): image_path(table, row) for row in table.index[~own]}
    waiting = [(path, file) for path, file in files.items() if path not in result.boxes]
    if len(waiting) < len(files):
        log.info("%d of %d images are in %s already.", len(files) - len(waiting), len(files), result.out)
    started = written = time.monotonic()
    try:
        batches = _read_ahead(waiting, cfg.batch_size)
        for paths, images in tracked(batches, "Looking for boxes", -(-len(waiting) // cfg.batch_size), "batches"):
            result.damaged += [path for path, image in zip(paths, images, strict=True) if image is None]
            whole = {path: image for path, image in zip(paths, images, strict=True) if image is not None}
            seen = vehicles(detector, selection, [*whole.values()], border=cfg.border, min_share=cfg.min_share)
            for path, found in zip(whole, seen, strict=True):
                result.boxes[path] = chosen(found, whole[path].shape[:2], cfg.choose)
                result.several += [path] if len(found) > 1 else []
            if time.monotonic() - written > _PAUSE:
                result.write()
                written = time.monotonic()
    finally:
        result.write()
    speed = len(waiting) / (time.monotonic() - started)
    log.info("%d images looked at, %.1f a second.", len(waiting), speed)
    _tell(result, int(own.sum()))
    return result.table


def _tell(result: "Boxes", own: int) -> None:
    """How many images have a box, and why the others have none."""
    found = sum(box != "" for box in result.boxes.values())
    log.info("%d of %d images have a box: %s", found, len(result.boxes), result.out)
    if nothing := len(result.boxes) - found:
        log.info("In %d no vehicle was found; they stay whole.", nothing)
    if result.several:
        log.info("%d show several vehicles; %s has their names.", len(result.several), result.out.with_suffix(".json"))
    if own:
        log.info("%d have a box in the data set and keep it.", own)
    if result.damaged:
        log.warning("%d could not be read and are left out; src.check_data decode=true finds all.", len(result.damaged))


def vehicles(
    detector: Detector, selection: Selection, images: Sequence[Image], *, border: float, min_share: float
) -> list[Detections]:
    """The vehicles in each image, best score first.

    Args:
        detector: Sees each image in a grey frame.
        selection: Which of its detections are vehicles.
        images: RGB, `(H, W, 3)`.
        border: Width of the frame, in parts of the image's side. Detectors know vehicles with something around them.
        min_share: Least share of the image that a vehicle takes.
    """
    found = []
    borders = [tuple(round(border * side) for side in image.shape[:2]) for image in images]
    framed = [
        np.asarray(cv2.copyMakeBorder(image, y, y, x, x, cv2.BORDER_CONSTANT, value=_GREY), dtype=np.uint8)
        for image, (y, x) in zip(images, borders, strict=True)
    ]
    for image, (y, x), seen in zip(images, borders, detector(framed) if framed else [], strict=True):
        height, width = image.shape[:2]
        moved = Detections(seen.boxes - np.array([x, y, x, y], dtype=np.float32), seen.scores, seen.classes)
        selected = selection(moved, (height, width))
        sides = selected.boxes[:, 2:] - selected.boxes[:, :2]
        found.append(selected.take(sides.prod(axis=1) >= min_share * height * width))
    return found


def chosen(found: Detections, size: Sequence[int], choose: str) -> str:
    """The box of one of the vehicles, as `data.extra` reads it; empty if there is none.

    Args:
        found: In an image, best score first; of equals the first counts.
        size: Its height and width.
        choose: `"largest"`, `"central"` (whose middle is nearest to the image's, in parts of its sides) or `"score"`.
    """
    if not len(found):
        return ""
    height, width = size
    first, last = found.boxes[:, :2], found.boxes[:, 2:]
    ranks = {
        "largest": -(last - first).prod(axis=1),
        "central": (((first + last) / 2 / [width, height] - 0.5) ** 2).sum(axis=1),
        "score": -found.scores,
    }
    left, top, right, bottom = found.boxes[int(ranks[choose].argmin())].tolist()
    return f"{int(left)} {int(top)} {min(width, int(np.ceil(right)))} {min(height, int(np.ceil(bottom)))}"


def _read_ahead(files: Sequence[tuple[str, Path]], size: int) -> Iterator[tuple[list[str], list[Image | None]]]:
    """Paths and images, so many at a time; None for a damaged one. The next are read while these are looked at."""
    with ThreadPoolExecutor() as readers:
        batches = [files[first : first + size] for first in range(0, len(files), size)]
        ahead = [readers.submit(_read, file) for _, file in batches[0]] if batches else []
        for number, batch in enumerate(batches, start=1):
            now = ahead
            ahead = [readers.submit(_read, file) for _, file in batches[number]] if number < len(batches) else []
            yield [path for path, _ in batch], [reading.result() for reading in now]


def _read(file: Path) -> Image | None:
    try:
        return read_image(file)
    except DataError as error:
        log.warning("%s", error)
        return None


def _made_by(cfg: DictConfig) -> dict[str, Any]:
    """What the boxes depend on."""
    files = {name: Path(cfg[name]) for name in ("detector", "weights") if cfg[name]}
    hashed = {name: file_sha(file)[:16] if file.is_file() else str(file) for name, file in files.items()}
    names = None if cfg.names is None else [*cfg.names]
    plain = {name: cfg[name] for name in ("score", "border", "min_share", "choose")}
    return {"weights": None} | hashed | {"names": names, "classes": [*cfg.classes]} | plain


@dataclass
class Boxes:
    """The CSV file of boxes and the JSON file beside it.

    Attributes:
        out: The CSV file.
        made_by: What the boxes depend on.
        boxes: Path → box of the images that were looked at, empty where no vehicle was found.
        several: Paths of images in which there are several vehicles.
        damaged: Paths of images that could not be read this time.
    """

    out: Path
    made_by: Mapping[str, Any]
    boxes: dict[str, str] = field(default_factory=dict)
    several: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @classmethod
    def taken_up(cls, out: Path, made_by: Mapping[str, Any]) -> "Boxes":
        """Those of an earlier run, if there are any.

        Raises:
            ConfigError: If the file was made otherwise, or does not say how.
        """
        if not out.is_file():
            return cls(out, made_by)
        beside = out.with_suffix(".json")
        if not beside.is_file():
            raise ConfigError(f"out={out} is there, and no {beside.name} says how it was made; name another file.")
        said = json.loads(beside.read_text(encoding="utf-8"))
        for key, value in made_by.items():
            if said["made_by"].get(key) != value:
                raise ConfigError(
                    f"The boxes in out={out} were made with {key}={said['made_by'].get(key)}, now it is {value}; name "
                    "another file."
                )
        rows = pd.read_csv(out, dtype=str, keep_default_na=False)
        boxes = dict(zip(rows["path"], rows["box"], strict=True))
        return cls(out, made_by, boxes, [path for path in said["several"] if path in boxes])

    def write(self) -> None:
        """Writes both files; the CSV file last, for what it lacks is looked at again."""
        nothing = [path for path, box in self.boxes.items() if not box]
        lists = {"nothing_found": nothing, "several": self.several, "damaged": self.damaged}
        counts = {"images": len(self.boxes)} | {name: len(paths) for name, paths in lists.items()}
        write_json(self.out.with_suffix(".json"), {"made_by": dict(self.made_by), "counts": counts} | lists)
        write_atomically(self.out, self.table.to_csv(index=False))

    @property
    def table(self) -> pd.DataFrame:
        """Path and box of each image."""
        return pd.DataFrame({"path": [*self.boxes], "box": [*self.boxes.values()]}, dtype=str)


if __name__ == "__main__":
    main()
