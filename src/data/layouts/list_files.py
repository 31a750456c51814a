"""Lists read, and files looked for without asking for each one: shared by the parsers."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from os import scandir
from pathlib import Path

from src.data.table import DataError

log = logging.getLogger(__name__)


def require_folder(folder: Path, dataset: str, expected: str) -> None:
    """Checks that a folder exists.

    Args:
        folder: The folder.
        dataset: Name of the data set, for the message.
        expected: What should lie in the folder, for the message.

    Raises:
        DataError: If it does not exist.
    """
    if not folder.is_dir():
        raise DataError(
            f"Data set {dataset!r}: {folder} is no folder, expected {expected}; "
            "put the data set there or pass data.root=<its folder> (in a pool data.sources.<name>.root)."
        )


def read_lines(path: Path, dataset: str) -> list[str]:
    """The lines of a text file without the spaces around them, empty lines included.

    Args:
        path: A file in UTF-8 or, as Chinese data sets have them, in GB 18030 (which includes GB 2312 and GBK).
        dataset: Name of the data set, for the message.

    Raises:
        DataError: If the file is missing or not text.
    """
    try:
        text = _decode(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"Data set {dataset!r}: the list {path} is missing; copy it from the data set's archive."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"Data set {dataset!r}: {path} is no UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
    return [line.strip() for line in text.splitlines()]


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030")


def with_ending(path: str) -> str:
    """A listed image, as a `.jpg` where the list leaves the ending away, as the first lists of VERI-Wild do.

    >>> with_ending("31388/321973"), with_ending("31388/321973.jpg")
    ('31388/321973.jpg', '31388/321973.jpg')
    """
    return path if "." in path.rpartition("/")[2] else f"{path}.jpg"


def fullest_tracks(by_file: Mapping[Path, Mapping[str, int]], dataset: str) -> Mapping[str, int]:
    """The tracks of the file that has the most images, where a data set has them in several files.

    Args:
        by_file: File → image and its track, as that file has it. A file that is not there is not among them.
        dataset: Name of the data set, for the message.

    Returns:
        Image → track; of equally full files the first one's; nothing without a file.
    """
    if not by_file:
        return {}
    fullest = max(by_file, key=lambda file: len(by_file[file]))
    tracks = by_file[fullest]
    for file, others in by_file.items():
        shared = tracks.keys() & others.keys()
        pairs = {(tracks[image], others[image]) for image in shared}
        alike = len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
        if not alike or shared != tracks.keys():
            log.warning(
                "Data set %r: %s gives %s images a track and %s %s%s; the tracks of the former are taken.",
                dataset,
                fullest,
                f"{len(tracks):,}",
                file.name,
                f"{len(others):,}",
                "" if alike else ", and they put some images together differently",
            )
    return tracks


def files_in(folder: Path) -> frozenset[str]:
    """The names in a folder, none if there is no such folder."""
    try:
        return frozenset(entry.name for entry in scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


#: Whether missing files are an error.
_checking: ContextVar[bool] = ContextVar("_checking", default=True)


@contextmanager
def without_checking_files() -> Iterator[None]:
    """Within it parsers read lists whose files are missing: for who looks for the files itself."""
    token = _checking.set(False)
    try:
        yield
    finally:
        _checking.reset(token)


def files_are_expected() -> bool:
    """Whether a parser may rely on images and their folders being there, which is so but within the above."""
    return _checking.get()


def find_files(root: Path, paths: Sequence[str], dataset: str, *, any_case: bool = True) -> list[str]:
    """Looks for listed files, reading each folder once: one request a file takes minutes on a network drive.

    Args:
        root: Folder that the paths start from.
        paths: With forward slashes.
        dataset: Name of the data set, for the message.
        any_case: Whether `.JPG` will do where `.jpg` is listed: some copies hold one, some the other.

    Returns:
        The paths, with their extensions as the files have them; a missing one stays as it is.

    Raises:
        DataError: If any is missing; says how many and names the first three. Not within `without_checking_files`.
    """
    names: dict[str, frozenset[str]] = {}
    folded: dict[str, dict[str, str]] = {}
    found, missing = [], []
    for path in paths:
        folder, slash, name = path.rpartition("/")
        if folder not in names:
            names[folder] = files_in(root / folder)
        if name not in names[folder]:
            if folder not in folded:
                folded[folder] = {_plain_extension(other): other for other in names[folder]} if any_case else {}
            name = folded[folder].get(_plain_extension(name), "")
            if not name:
                missing.append(path)
        found.append(f"{folder}{slash}{name}" if name else path)
    if missing and _checking.get():
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise DataError(
            f"Data set {dataset!r}: {len(missing)} of {len(paths)} listed files are not in {root} ({shown}); "
            "unpack the data set completely."
        )
    return found


def _plain_extension(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return f"{stem}{dot}{extension.casefold()}"
