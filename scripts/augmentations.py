"""Draws what random shrink and background substitution do: the picture of docs/methods.md.

python -m scripts.augmentations [data/quickstart_veri] [--out docs/augmentations.png]
"""

import argparse
from pathlib import Path

from src.data import image_path, read_image
from src.data.images import read_mask
from src.data.layouts import VeRi776
from src.data.transforms.background import BackgroundSubstitution, Substitution
from src.data.transforms.pipeline import Pipeline
from src.data.transforms.shrink import RandomShrink
from src.figures.augmentations import draw_augmentations

SIZE = (80, 112)  # of the network's input
ROWS = (827, 200)  # training images: one to augment, one for its background


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/quickstart_veri"))
    parser.add_argument("--out", type=Path, default=Path("docs/augmentations.png"))
    arguments = parser.parse_args()
    table = VeRi776(arguments.folder, arguments.folder.name).read()
    image, other = (read_image(image_path(table, row)) for row in ROWS)
    mask, other_mask = (read_mask(image_path(table, row, "mask")) for row in ROWS)
    plain = Pipeline(SIZE, [], [], None)
    shrunk = {
        f"{factor}": Pipeline(SIZE, [], [], None, before=[RandomShrink(SIZE, (factor, factor), p=1)])(image).image
        for factor in (0.6, 0.5, 0.4)
    }
    replaced = {
        f"feather {feather}": Pipeline(SIZE, [], [], None, behind=[BackgroundSubstitution(SIZE, feather, p=1)])(
            image, substitution=Substitution(lambda: mask, lambda _: (other, other_mask))
        ).image
        for feather in (0, 1)
    }
    seen = plain(image)
    shown_mask = plain(mask[..., None].repeat(3, axis=2) * 255)
    rows = {
        "shrink": {"none": seen.image} | shrunk,
        "background": {"none": seen.image, "mask": shown_mask.image, "another image": plain(other).image} | replaced,
    }
    draw_augmentations(rows, arguments.out)


if __name__ == "__main__":
    main()
