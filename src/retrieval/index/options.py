"""Kinds of search indexes and their options."""

from collections.abc import Mapping
from typing import Any, Literal

IndexKind = Literal["exact", "torch", "ivf_flat", "ivf_pq", "hnsw"]

FEATURES_PER_CENTROID = 39  # FAISS's advice
_CODES = 256  # what a byte of a compressed feature can say
OF_SEARCH = ("n_probes", "ef_search")
"""Options that an index is searched with, not built."""

_INVERTED: dict[str, int | None] = {"n_lists": None, "n_probes": 16, "seed": 0}
OPTIONS: dict[IndexKind, dict[str, int | None]] = {
    "exact": {},
    "torch": {},
    "ivf_flat": _INVERTED,
    "ivf_pq": {**_INVERTED, "pq_bytes": None},
    "hnsw": {"m": 32, "ef_construction": 200, "ef_search": 128, "seed": 0},
}
"""The options of each kind and their defaults; None is replaced by a number that fits the features."""


def check(owner: str, options: Mapping[str, int | None], defaults: Mapping[str, int | None]) -> None:
    """Refuses options that do not exist or are out of range.

    Args:
        owner: Whose options, as an error says it.
        options: What the user wants.
        defaults: What there is.

    Raises:
        ValueError: If an option is unknown or out of range.
    """
    for name, value in options.items():
        if name not in defaults:
            raise ValueError(f"{owner} has no option {name}, expected {' or '.join(defaults) or 'none'}.")
        least = 0 if name == "seed" else 1  # all others count something
        if defaults[name] is not None if value is None else value < least:
            raise ValueError(f"{name} is {value}, expected an integer of at least {least}.")


def codes(kind: IndexKind | str) -> int:
    """Number of codes that a kind learns, beside its lists."""
    return _CODES if kind == "ivf_pq" else 1


def require_enough(kind: IndexKind | str, n_lists: int | None, count: int) -> None:
    """Refuses a kind that has more to learn than there are features to learn from.

    Args:
        kind: Which.
        n_lists: Its lists; None for as many as fit.
        count: Number of features.

    Raises:
        ValueError: If they are too few; says which kinds do.
    """
    n_lists = _lists(count) if n_lists is None else n_lists
    if not kind.startswith("ivf") or count >= max(n_lists, codes(kind)):
        return
    fewer = f"pass n_lists={count} or fewer, or " if count >= codes(kind) else ""
    others = "kind=exact" if kind == "ivf_flat" else "kind=exact, or kind=ivf_flat"
    raise ValueError(
        f"{kind} learns {n_lists} lists and {codes(kind)} codes from the features, which are only {count}: {fewer}"
        f"choose {others}; so few need no other."
    )


def _lists(count: int) -> int:
    """√N, or less where FAISS would not have its 39 features a list."""
    return max(1, min(round(count**0.5), count // FEATURES_PER_CENTROID))


def fitted(kind: IndexKind, options: Mapping[str, Any], count: int, dimension: int) -> dict[str, Any]:
    """The options with numbers that fit the features where they were None.

    `n_lists` becomes √N, or less where FAISS would not have its 39 features a list; `pq_bytes` the largest divisor of
    the dimension up to 64.

    Raises:
        ValueError: If `pq_bytes` does not divide the dimension.
    """
    options = dict(options)
    if "n_lists" in options and options["n_lists"] is None:
        options["n_lists"] = _lists(count)
    if kind == "ivf_pq":
        divisors = [number for number in range(1, dimension + 1) if dimension % number == 0]
        if options["pq_bytes"] is None:
            options["pq_bytes"] = max(number for number in divisors if number <= 64)
        if options["pq_bytes"] not in divisors:
            allowed = ", ".join(map(str, divisors))
            raise ValueError(
                f"pq_bytes is {options['pq_bytes']}, expected a divisor of the {dimension} dimensions: {allowed}."
            )
    return options
