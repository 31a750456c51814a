"""A page of tracks to look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_PAGE = (1240, 1754)  # A4 at 150 dots an inch
_MARGIN, _TITLE, _LINE, _SIDE, _ROWS = 40, 60, 18, 104, 12
_INK, _PAPER = (29, 34, 38), (255, 255, 255)


@dataclass(frozen=True)
class TrackOnSheet:
    """A track of a contact sheet.

    Attributes:
        caption: A line about it.
        crops: Row of each of its crops.
    """

    caption: str
    crops: Sequence[int]


def draw_contact_sheet(
    tracks: Sequence[TrackOnSheet], read: Callable[[int], NDArray[np.uint8]], title: str, out: Path
) -> None:
    """Draws tracks on an A4 page, each as a line of its crops; of more than fit, some from all over the list.

    Args:
        tracks: In the order in which they are shown.
        read: The RGB image of a crop.
        title: Of the page.
        out: The picture's path.
    """
    page = Image.new("RGB", _PAGE, _PAPER)
    pen, font = ImageDraw.Draw(page), findfont("DejaVu Sans")
    small = ImageFont.truetype(font, 14)
    most = max((len(track.crops) for track in tracks), default=1)
    inner = _PAGE[0] - 2 * _MARGIN
    columns = max(1, inner // ((_SIDE + 4) * most + 16))
    side = min(_SIDE, inner // columns // most - 4)
    height = _LINE + _SIDE + 8
    fits = columns * _ROWS
    shown = [tracks[place] for place in np.linspace(0, len(tracks) - 1, min(fits, len(tracks))).round().astype(int)]
    count = f"{len(tracks)} tracks" if len(shown) == len(tracks) else f"{len(shown)} of {len(tracks)} tracks"
    pen.text((_MARGIN, _MARGIN - 10), f"{title}: {count}", fill=_INK, font=ImageFont.truetype(font, 22))
    for place, track in enumerate(shown):
        left = _MARGIN + place % columns * (inner // columns)
        top = _MARGIN + _TITLE + place // columns * height
        pen.text((left, top), track.caption, fill=_INK, font=small)
        for number, row in enumerate(track.crops):
            crop = Image.fromarray(read(row))
            crop.thumbnail((side, _SIDE))
            page.paste(crop, (left + number * (side + 4), top + _LINE + 2))
    out.parent.mkdir(parents=True, exist_ok=True)
    page.save(out, quality=88)
