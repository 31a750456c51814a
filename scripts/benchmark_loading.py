"""Images a second and core: decoding and augmenting, beside PIL and torchvision doing the same work.

    OMP_NUM_THREADS=1 python -m scripts.benchmark_loading [folder of images] --sizes 128 256
    OMP_NUM_THREADS=1 python -m scripts.benchmark_loading data/quickstart_veri --with shrink=0.5 background=0.5

Both read the file, resize, flip, pad and crop, and erase a rectangle, on one thread. Ours leaves bytes, which the
network normalises on its device; torchvision's usual pipeline makes normalised floats. Rounds in turn, in CPU seconds.
With `--with`, training images of a folder in VeRi-776's layout with and without each of the augmentations instead.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from scripts.benchmark_retrieval import machine
from src.data import ReIDDataset, Transforms, read_image
from src.data.layouts import VeRi776

ROUNDS = 5
COUNT = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/quickstart"))
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 256])
    parser.add_argument("--with", nargs="+", metavar="AUGMENTATION=PROBABILITY", dest="augmentations")
    arguments = parser.parse_args()
    if arguments.augmentations:
        compare_augmentations(arguments.folder, arguments.sizes, arguments.augmentations)
        return
    files = sorted(arguments.folder.rglob("*.jpg"))[:COUNT]
    torch.set_num_threads(1)
    sides = [Image.open(file).size for file in files]
    width, height = (round(statistics.mean(side)) for side in zip(*sides, strict=True))
    print(f"{len(files)} JPEGs of {arguments.folder}, {width} × {height} pixels on average.\n")
    print("| size | PIL + torchvision, images/s | ours, images/s | ratio |\n|---|---|---|---|")
    for size in arguments.sizes:
        pairs = [(rate(torchvision_pipeline(size), files), rate(our_pipeline(size), files)) for _ in range(ROUNDS)]
        theirs, ours = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        ratio = statistics.median(our / their for their, our in pairs)
        print(f"| {size} | {theirs:,.0f} | {ours:,.0f} | {ratio:.2f} |", flush=True)
    print(f"\nMedians of {ROUNDS} rounds on one thread. {machine()}")


def compare_augmentations(folder: Path, sizes: Sequence[int], augmentations: Sequence[str]) -> None:
    table = VeRi776(folder, folder.name).read()
    torch.set_num_threads(1)
    print("| size | with | images/s without | with | ratio of times |\n|---|---|---|---|---|")
    for size in sizes:
        plain = ReIDDataset(table, Transforms(size=size).training())
        for name, _, probability in (augmentation.partition("=") for augmentation in augmentations):
            options: dict[str, Any] = {name: float(probability)}
            augmented = ReIDDataset(table, replace(Transforms(size=size), **options).training())
            pairs = [
                (rate(plain.__getitem__, range(COUNT)), rate(augmented.__getitem__, range(COUNT)))
                for _ in range(ROUNDS)
            ]
            without, using = (statistics.median(rates) for rates in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            print(f"| {size} | {name}={probability} | {without:,.0f} | {using:,.0f} | {ratio:.2f} |", flush=True)
    print(f"\nMedians of {ROUNDS} rounds on one thread. {machine()}")


def our_pipeline(size: int) -> Callable[[Path], object]:
    pipeline = Transforms(size=size).training()
    return lambda file: pipeline(read_image(file), None, night=False, seed=abs(hash(file))).image.transpose(2, 0, 1)


def torchvision_pipeline(size: int) -> Callable[[Path], Tensor]:
    transform = v2.Compose(
        [
            v2.Resize((size, size)),
            v2.RandomHorizontalFlip(),
            v2.Pad(10),
            v2.RandomCrop(size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            v2.RandomErasing(p=0.5, scale=(0.02, 0.4), ratio=(0.3, 3.33)),
        ]
    )
    return lambda file: transform(Image.open(file).convert("RGB"))


def rate(load: Callable[[Any], object], items: Sequence[Any]) -> float:
    start = time.process_time()
    for item in items:
        load(item)
    return len(items) / (time.process_time() - start)


if __name__ == "__main__":
    main()
