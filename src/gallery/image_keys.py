"""Keys: a number for each image of a gallery that changes with the picture, so that none is embedded twice."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Keys = NDArray[np.int64]


def image_keys(table: pd.DataFrame) -> Keys:
    """A number for each record that changes with its path, box, domain, and the file's size and time."""
    parts = (table[name].tolist() for name in ("root", "path", "box", "domain"))
    return np.array([_key(*record) for record in zip(*parts, strict=True)], dtype=np.int64)


def _key(root: str, path: str, box: str, domain: str) -> int:
    try:
        found = Path(root, path).stat()
        stamp = f"{found.st_size} {found.st_mtime_ns}"
    except OSError:  # embedding it will say what is wrong
        stamp = ""
    text = "\0".join([path, box, domain, stamp])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)
