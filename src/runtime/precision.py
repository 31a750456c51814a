"""Products of float32 in float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Leaves products as precise as their factors: no autocast, no TF32 or bfloat16 inside of float32.

    Args:
        device_type: Of the factors, `"cuda"`.
    """
    library = getattr(torch.backends.mkldnn, "matmul", None) if device_type == "cpu" else torch.backends.cuda.matmul
    with torch.autocast(device_type, enabled=False):
        if library is not None and hasattr(library, "fp32_precision"):
            setting, library.fp32_precision = library.fp32_precision, "ieee"
            try:
                yield
            finally:
                library.fp32_precision = setting
        else:  # before torch 2.9
            common = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            try:
                yield
            finally:
                torch.set_float32_matmul_precision(common)
