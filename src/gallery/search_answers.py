"""What a search has found, as a table, as JSON and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from src.data import read_image
from src.figures.search_results import Tile, draw_search
from src.gallery.gallery import Gallery, Hit
from src.runtime.console import console

_COLUMNS = ("vehicle", "global_id", "camera", "time", "domain", "colour", "type", "images")
_TO_THE_LEFT = ("domain", "colour", "type", "image")


@dataclass(frozen=True)
class Answer:
    """What was found for one picture.

    Attributes:
        query: The picture.
        hits: What was found, best first.
        records: Of each hit, see `Gallery.describe`; of tracks also their times and images.
        absent: Whether the vehicle is probably not in the gallery; None if unknown.
    """

    query: Path
    hits: list[Hit]
    records: list[dict[str, Any]]
    absent: bool | None

    def print(self, gallery: Gallery) -> None:
        """Prints the table, with the columns that say anything.

        Args:
            gallery: Where it was found.
        """
        if self.absent:
            console().print(f"{self.query}: probably not in the gallery; the nearest image shows another vehicle.")
        if not self.hits:
            console().print(f"{self.query}: nothing passes the filters and the threshold.")
            return
        shown = [name for name in _COLUMNS if any(record.get(name) is not None for record in self.records)]
        numbers = ["score"] if all(hit.probability is None for hit in self.hits) else ["probability", "score"]
        table = Table(title=str(self.query), title_justify="left")
        for name in ("", *numbers, *shown, "image"):
            table.add_column(name, justify="left" if name in _TO_THE_LEFT else "right", overflow="fold")
        for place, (hit, record) in enumerate(zip(self.hits, self.records, strict=True), start=1):
            said = (f"{getattr(hit, name):.3f}" for name in numbers)
            known = (_cell(record[name]) for name in shown)
            table.add_row(str(place), *said, *known, str(gallery.table.loc[hit.row, "path"]))
        console().print(table)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        hits = [
            {"rank": rank, "score": hit.score, "probability": hit.probability} | record
            for rank, (hit, record) in enumerate(zip(self.hits, self.records, strict=True), start=1)
        ]
        return {"query": str(self.query), "not_in_gallery": self.absent, "hits": hits}

    def tiles(self, gallery: Gallery) -> list[Tile]:
        """The pictures found, and what to write above and below them."""
        return [
            (gallery.image(hit.row), _above(hit), _below(record))
            for hit, record in zip(self.hits, self.records, strict=True)
        ]


def draw_answers(answers: Sequence[Answer], gallery: Gallery, out: Path) -> None:
    """Draws each query and what was found for it.

    Args:
        answers: One a query.
        gallery: Where it was found.
        out: The picture's path.

    Raises:
        DataError: If an image cannot be read.
    """
    queries = [answer.query for answer in answers]
    tiles = [answer.tiles(gallery) for answer in answers]
    draw_search([read_image(query) for query in queries], [query.name for query in queries], tiles, out)


def _cell(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else "" if value is None else str(value)


def _above(hit: Hit) -> str:
    return f"{hit.score:.3f}" if hit.probability is None else f"p {hit.probability:.3f}"


def _below(record: dict[str, Any]) -> str:
    camera = None if record["camera"] is None else f"camera {record['camera']}"
    time = record["time"] and record["time"].replace(" – ", " –\n")  # of a track, wider than its picture
    return "\n".join(text for text in (camera, time, record["domain"]) if text)
