"""The AI City Challenge's submission file, `track2.txt`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.data.table import DataError
from src.runtime.whole_files import write_atomically

#: Gallery images a line; the challenge's server counts no more.
MATCHES = 100


def write_submission(path: Path, ranking: NDArray[np.int64], n_gallery: int) -> None:
    """Writes a submission: a line a query with its best matches, as numbers of gallery images from 1 on.

    Layout `CityFlow` has queries and gallery in the order of their numbers, which is what the server expects.

    Args:
        path: The file; replaced if it is there.
        ranking: Places in the gallery from 0 on, nearest first, `(Q, at least MATCHES)`.
        n_gallery: Images in the gallery.

    Raises:
        DataError: If there are fewer than `MATCHES` places a query, or they are not places in the gallery or not
            distinct; the file is not written then.
    """
    if ranking.ndim != 2 or ranking.shape[1] < MATCHES:
        raise DataError(
            f"A submission takes {MATCHES} matches a query, but the ranking is {ranking.shape}; rank that many gallery "
            "images at least."
        )
    lines = [" ".join(map(str, places)) for places in (ranking[:, :MATCHES] + 1).tolist()]
    _check_lines(path, lines, len(ranking), n_gallery)
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def check_submission(path: Path, n_queries: int, n_gallery: int) -> None:
    """Checks that the server can read a submission.

    Args:
        path: The file.
        n_queries: Lines it must have: 1,052 in 2020, 1,103 in 2021.
        n_gallery: Images in the gallery: 18,290 in 2020, 31,238 in 2021.

    Raises:
        DataError: Names the first wrong line and what is wrong.
    """
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise DataError(f"There is no submission at {path}; write one with write_submission.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text of numbers and spaces ({error.reason} at byte {error.start}).") from error
    _check_lines(path, text.splitlines(), n_queries, n_gallery)


def _check_lines(path: Path, lines: list[str], n_queries: int, n_gallery: int) -> None:
    if len(lines) != n_queries:
        raise DataError(f"{path} has {len(lines)} lines, expected one a query: {n_queries}.")
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != MATCHES:
            raise DataError(f"Line {number} of {path} has {len(fields)} numbers, expected {MATCHES}.")
        if wrong := [field for field in fields if not field.isdecimal() or not 1 <= int(field) <= n_gallery]:
            raise DataError(f"Line {number} of {path} has {wrong[0]!r}, expected numbers from 1 to {n_gallery} only.")
        images = [int(field) for field in fields]
        if len(set(images)) < MATCHES:
            twice = next(image for place, image in enumerate(images) if image in images[:place])
            raise DataError(f"Line {number} of {path} has {twice} twice, expected {MATCHES} different images.")
