"""Files that are whole or not there."""

import errno
import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Writes a whole file or nothing: a full disk or a killed process leaves the old one.

    It is written beside its place, so that the last step is a rename within one file system, and is on the disk before.

    Raises:
        OSError: Names the file and what is wrong.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        kept = "; the file that was there is as it was" if path.is_file() else ""
        raise OSError(f"{path} cannot be written ({error.strerror}){kept}. {remedy(error.errno)}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remedy(number: int | None) -> str:
    """Remedy against an error of writing, by its `errno`: room on a full disk, else another folder."""
    full = number in (errno.ENOSPC, errno.EDQUOT)
    return "Make room there, or choose another folder" if full else "Choose another folder"
