"""How much memory a process has needed."""

import sys


def peak_memory() -> str:
    """The most memory that this process has had so far, and of a GPU's what its tensors had, in words.

    >>> peak_memory().startswith("at most ")
    True
    """
    parts = []
    if sys.platform != "win32":  # which has no such module
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        parts.append(f"{most / 1e9:.1f} GB")
    torch = sys.modules.get("torch")  # who has not imported it has nothing on a GPU
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        parts.append(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB of the GPU")
    return f"at most {' and '.join(parts) or 'unknown memory'}"
