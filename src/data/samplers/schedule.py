"""Dividing each identity's images over batches, as pure functions of their inputs."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def cut(rows: Rows, size: int, count: int, rng: np.random.Generator) -> Rows:
    """Cuts shuffled rows into chunks, going through them again (freshly shuffled) as long as chunks are missing.

    A chunk holds a row twice only if there are fewer rows than it has places.

    Args:
        rows: `(n,)`.
        size: Rows in a chunk.
        count: Number of chunks.
        rng: Source of the order.

    Returns:
        `(count, size)`.
    """
    order = rng.permutation(rows)
    while len(order) < count * size:
        unfinished = order[len(order) - len(order) % size :]
        again = rng.permutation(rows)
        repeated = np.isin(again, unfinished)
        order = np.concatenate([order, again[~repeated], again[repeated]])
    return order[: count * size].reshape(count, size)


def most_batches(chunks: Rows, ids: int) -> int:
    """The largest number of batches of `ids` different identities, of which each has so many chunks.

    T batches can be filled exactly if Σ min(chunks, T) ≥ T · ids: no identity can be in a batch twice.
    """
    low, high = 0, int(chunks.sum()) // ids
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(chunks, middle).sum()) >= middle * ids:
            low = middle
        else:
            high = middle - 1
    return low


def schedule(chunks: Rows, ids: int, n_batches: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Distributes chunks over batches at random, so that every batch has `ids` different identities.

    Drawing identities until too few have chunks left would give epochs of random length, and last batches of the same
    few identities. Here the batches left want exactly the chunks left, so an identity with c of them can be in the next
    of T batches with probability c / T (systematic sampling, Madow 1949): who has T chunks left is, and all come out
    even.

    Args:
        chunks: Chunks of each identity, `(n,)`.
        ids: Identities in a batch.
        n_batches: At most `most_batches(chunks, ids)`.
        rng: Source of the draws.

    Yields:
        The identities of a batch, `(ids,)`.
    """
    left = np.minimum(chunks, n_batches)
    left -= rng.multivariate_hypergeometric(left, int(left.sum()) - n_batches * ids)  # those that fill no batch
    for remaining in range(n_batches, 0, -1):
        # Lay the chunks end to end, identities in random order, and pick at equal steps from a random start. Nobody has
        # more chunks than a step is long, so nobody is picked twice.
        order = rng.permutation(len(left))
        picks = rng.integers(remaining) + remaining * np.arange(ids)
        drawn = order[np.searchsorted(left[order].cumsum(), picks, side="right")]
        left[drawn] -= 1
        yield drawn
