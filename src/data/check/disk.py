"""Looking at files: which there are, which cannot be read, which are the same, and what of it is a problem."""

import hashlib
import os
import posixpath
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd

from src.data.check.records import Finding, findings_of
from src.data.images import read_image, read_mask
from src.data.loader_processes import decode_in_one_thread
from src.data.table import DataError, known
from src.runtime.progress import tracked, working

_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
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
        return [problem for problem in tracked(map(_problem, jobs), "Decoding", len(jobs)) if problem]
    with ProcessPoolExecutor(workers, initializer=decode_in_one_thread) as pool:
        results = pool.map(_problem, jobs, chunksize=64)  # starts the processes, before the progress' thread
        return [problem for problem in tracked(results, "Decoding", len(jobs)) if problem]


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
            digests = list(tracked(pool.map(partial(_digest, size=size), paths), what, len(paths), "files"))
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


def file_findings(
    table: pd.DataFrame, images: pd.Series, decode: bool, duplicates: bool, workers: int
) -> list[Finding]:
    """Faults of the files of a record table.

    Args:
        table: The table.
        images: Where each record's image lies.
        decode: Decode every image and mask.
        duplicates: Look for images with the same content.
        workers: Number of processes that decode and of threads that compare; 0 does it here.
    """
    findings: list[Finding] = []
    masks = table["root"].str.cat(table["mask"], sep="/")[known(table, "mask")].drop_duplicates()
    with working("Listing files"):
        sizes, unlisted = _on_disk(table)
    listed = pd.concat([images, masks]).drop_duplicates().tolist()
    whole = {path: sizes[path] for path in listed if sizes.get(path, 0) > 0}
    findings += findings_of(
        [path for path in listed if path not in sizes],
        "missing_files",
        "{count} of {total} listed files are missing: unpack the data set completely.",
        total=len(listed),
    )
    findings += findings_of(
        [path for path in listed if sizes.get(path) == 0],
        "empty_files",
        "{count} of {total} listed files are empty: copy them again from the data set's archive.",
        total=len(listed),
    )
    findings += findings_of(
        unlisted,
        "unlisted_images",
        "{count} images are in no list that was read: other lists may have them (another test set); if not, the lists "
        "are of another version.",
        problem=False,
    )
    if duplicates:
        findings += _duplicates(table, images, copies({path: whole[path] for path in images if path in whole}, workers))
    if decode:
        there = images.isin(whole)
        pairs = table[there].assign(image=images)[["image", "box"]].drop_duplicates().itertuples(index=False, name=None)
        jobs = [(Path(image), box) for image, box in pairs]
        mask_jobs = [Path(mask) for mask in masks if mask in whole]
        findings += findings_of(
            unreadable(jobs, mask_jobs, workers),
            "unreadable_images",
            "{count} of {total} images and masks cannot be read: copy them again, or take them out of the lists.",
            total=len(jobs) + len(mask_jobs),
        )
    return findings


def _on_disk(table: pd.DataFrame) -> tuple[dict[str, int], list[str]]:
    """Every file in the folders that the table names, with its size; and the images that the table does not name."""
    sizes: dict[str, int] = {}
    unlisted = []
    for root, part in table.groupby("root", sort=False):
        named = set(part["path"]) | set(part["mask"]) - {""}
        # A path such as ../x.jpg must not have the folder above listed, nor a//x.jpg go for another file than a/x.jpg.
        plain = {path for path in named if posixpath.normpath(path) == path and not path.startswith("../")}
        files = list_files(Path(str(root)), sorted({path.partition("/")[0] if "/" in path else "" for path in plain}))
        files |= {
            path: Path(str(root), path).stat().st_size for path in named - plain if Path(str(root), path).is_file()
        }
        named |= {posixpath.normpath(path) for path in named - plain}
        sizes |= {f"{root}/{path}": size for path, size in files.items()}
        unlisted += [
            f"{root}/{path}"
            for path in sorted(files.keys() - named)
            if PurePosixPath(path).suffix.casefold() in _IMAGES
        ]
    return sizes, unlisted


def _duplicates(table: pd.DataFrame, images: pd.Series, groups: list[list[str]]) -> list[Finding]:
    train = set(images[table["split"] == "train"])
    across: list[str] = []
    within: list[str] = []
    for group in groups:
        in_training = [path in train for path in group]
        (across if any(in_training) and not all(in_training) else within).append(" = ".join(group))
    findings = findings_of(
        across,
        "same_image_in_training_and_test",
        "{count} images are in the training set and, as copies, in the test set, which makes results too good: take "
        "them out of one of the lists.",
    )
    return findings + findings_of(
        within,
        "same_image_twice",
        "{count} images are there several times: VeRi-776's gallery repeats its queries, else it may be a mistake.",
        problem=False,
    )
