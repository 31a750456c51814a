"""Links: tracks of a gallery that show one vehicle, as `src.link` has found."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from src.runtime.errors import ConfigError
from src.runtime.whole_files import write_atomically

LINKS_FILE, _COLUMNS = "links.csv", ["track_id", "global_id"]


def read_links(folder: Path) -> dict[int, int]:
    """Number of each track → that of its vehicle; empty where nothing was linked.

    Args:
        folder: Of the gallery.

    Raises:
        ConfigError: If the file is damaged.
    """
    file = folder / LINKS_FILE
    if not file.is_file():
        return {}
    try:
        table = pd.read_csv(file, dtype="int64")
        return dict(zip(*(table[column].tolist() for column in _COLUMNS), strict=True))
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{file} is damaged ({error}); run src.link again.") from error


def write_links(folder: Path, links: Mapping[int, int]) -> None:
    """Writes what `read_links` reads."""
    table = pd.DataFrame(sorted(links.items()), columns=_COLUMNS)
    write_atomically(folder / LINKS_FILE, table.to_csv(index=False))


def keep_links(folder: Path, records: Callable[[], pd.DataFrame]) -> None:
    """Deletes the links and trips of tracks that have no image any more.

    Args:
        folder: Of the gallery.
        records: Its records, read if there are links.
    """
    files = [file for file in (folder / LINKS_FILE, folder / "trips.csv") if file.is_file()]
    tracks = records()["track_id"] if files else ()
    for file in files:
        said = pd.read_csv(file, dtype=str, keep_default_na=False)
        kept = said["track_id"].astype("int64").isin(tracks)
        if not kept.all():
            write_atomically(file, said[kept].to_csv(index=False))
