"""Looking at files: which there are, which cannot be read, which are the same."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from src.data.images import read_image, read_mask
from src.data.table import DataError

_TAIL = 4096  # bytes


def list_files(root: Path, folders: Iterable[str]) -> dict[str, int]:
    """Lists files without opening any.

    Args:
        root: Where to look.
        folders: Folders in it, which are searched to the bottom; `""` is root itself without the folders in it.

    Returns:
        Path below root, with forward slashes → size in bytes. Broken links are left out.
    """
    files: dict[str, int] = {}
    # Folder, and the targets of the links that led to it: a link to one of them would go round for ever.
    left: list[tuple[str, frozenset[str]]] = [(folder, frozenset()) for folder in folders]
    while left:
        folder, links = left.pop()
        try:
            entries = os.scandir(root / folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not entry.is_dir():
                try:
                    files[path] = entry.stat().st_size
                except FileNotFoundError:
                    continue
            elif folder:
                target = os.path.realpath(entry.path) if entry.is_symlink() else ""
                if target not in links:
                    left.append((path, links | {target} if target else links))
    return files


def unreadable(images: Sequence[tuple[Path, str]], masks: Sequence[Path], workers: int) -> list[str]:
    """Decodes images and masks.

    Args:
        images: Image and box of each record, see `read_image`.
        masks: Masks.
        workers: Number of processes; 0 decodes in this one.

    Returns:
        For each that cannot be decoded, what is wrong with it, in the order given.
    """
    jobs = [*images, *((mask, None) for mask in masks)]
    if workers == 0:
        return [problem for problem in _show(map(_problem, jobs), "Decoding", len(jobs)) if problem]
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(_problem, jobs, chunksize=64)  # starts the processes, before the progress bar's thread
        return [problem for problem in _show(results, "Decoding", len(jobs)) if problem]


def _problem(job: tuple[Path, str | None]) -> str:
    path, box = job
    try:
        if box is None:
            read_mask(path)
        else:
            read_image(path, box)
    except DataError as error:
        return str(error)
    return ""


def copies(files: dict[str, int], workers: int) -> list[list[str]]:
    """Finds files with the same content. Only files of equal size are opened, and first only their ends are compared.

    Args:
        files: Path → size in bytes.
        workers: Number of files to read at the same time, at least 1.

    Returns:
        The paths of each content that several files have, in the order given.
    """
    groups = _several(files, files.values())
    for size, what in ((_TAIL, "Comparing the ends of files"), (None, "Comparing files")):
        paths = [path for group in groups for path in group]
        places = [place for place, group in enumerate(groups) for _ in group]
        with ThreadPoolExecutor(max(1, workers)) as pool:
            digests = list(_show(pool.map(partial(_digest, size=size), paths), what, len(paths)))
        groups = _several(paths, zip(places, digests, strict=True))
    return groups


def _several(paths: Iterable[str], keys: Iterable[Hashable]) -> list[list[str]]:
    """The paths of each key that several have."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for path, key in zip(paths, keys, strict=True):
        groups[key].append(path)
    return [group for group in groups.values() if len(group) > 1]


def _digest(path: str, size: int | None) -> bytes:
    """Of the last `size` bytes of a file; None takes all of it."""
    with Path(path).open("rb") as file:
        if size is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return hashlib.file_digest(file, "sha256").digest()


def _show(results: Iterable, what: str, total: int) -> Iterable:
    """A progress bar on the terminal."""
    return track(results, what, total, console=Console(stderr=True), transient=True)
