"""Exact ranks of the positives, and the nearest entries, in one block of distances.

NaN in a block marks an entry that is out of the query's ranking. Equal distances rank in gallery order.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.relevance import Integers, Pairs
from src.runtime.threads import for_each


def rank_positives(block: Tensor, positives: Pairs) -> tuple[Integers, int]:
    """Rank of every positive among all entries of its row.

    Rows are sorted as bare numbers, without their indices: vectorised sorting of float32 costs a tenth of the
    product that made them, and gives the rank of any number of positives by bisection.

    Args:
        block: Distances `(q, g)`, NaN where the entry is ignored.
        positives: The positive pairs, none of them NaN.

    Returns:
        The 1-based ranks, `(len(positives),)` in the rows' order and ascending within each row, and the number of
        (positive, non-positive) pairs at exactly the same distance.
    """
    if block.device.type == "cpu":
        return _rank_by_rows(block.numpy(), positives)
    return _rank_at_once(block, positives)


def _rank_by_rows(block: NDArray[np.float32], positives: Pairs) -> tuple[Integers, int]:
    bounds = np.searchsorted(positives.rows, np.arange(len(block) + 1))
    ranks = np.empty(len(positives.rows), dtype=np.int64)
    ties = np.zeros(len(block), dtype=np.int64)

    def rank(row: int) -> None:
        part = slice(bounds[row], bounds[row + 1])
        if part.start == part.stop:
            return
        distances, columns = block[row], positives.columns[part]
        values = distances[columns]
        order = values.argsort(kind="stable")
        values, columns = values[order], columns[order]
        in_order = np.sort(distances)
        smaller = in_order.searchsorted(values)
        equal = in_order.searchsorted(values, side="right") - smaller
        ranks[part] = smaller + 1
        for i in np.flatnonzero(equal > 1):
            ranks[part.start + i] += np.count_nonzero(distances[: columns[i]] == values[i])
            ties[row] += equal[i] - np.count_nonzero(values == values[i])

    for_each(rank, len(block))
    return ranks, int(ties.sum())


def _rank_at_once(block: Tensor, positives: Pairs) -> tuple[Integers, int]:
    """The same by few large operations, as an accelerator wants it."""
    rows = torch.from_numpy(positives.rows).to(block.device)
    columns = torch.from_numpy(positives.columns).to(block.device)
    values = block[rows, columns]
    # By row, then value, then column: the pairs come in order of column, and both sorts are stable.
    order = values.argsort(stable=True)
    order = order[rows[order].argsort(stable=True)]
    rows, columns, values = rows[order], columns[order], values[order]

    counts = torch.bincount(rows, minlength=len(block))
    position = torch.arange(len(rows), device=block.device) - (counts.cumsum(0) - counts)[rows]
    wanted = block.new_full((len(block), int(counts.max()) if len(block) else 0), torch.inf)
    wanted[rows, position] = values
    in_order = block.masked_fill(block.isnan(), torch.inf).sort(dim=1).values
    ranks = torch.searchsorted(in_order, wanted)[rows, position] + 1
    equal = torch.searchsorted(in_order, wanted, right=True)[rows, position] + 1 - ranks

    changes = (rows[1:] != rows[:-1]) | (values[1:] != values[:-1])
    group = torch.nn.functional.pad(changes.cumsum(0), (1, 0))[: len(rows)]  # positives at one distance of one row
    tied = (equal > 1).nonzero()[:, 0]
    ties = -int(torch.bincount(group)[group[tied]].sum())
    entries = torch.arange(block.shape[1], device=block.device)
    for part in tied.split(max(1, len(block) // 4)):  # each part takes about a quarter of the block's memory
        same = block[rows[part]] == values[part, None]
        ranks[part] += (same & (entries < columns[part, None])).sum(dim=1)
        ties += int(same.sum())
    return ranks.cpu().numpy(), ties


def nearest(block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` nearest entries of each row, equal distances in gallery order.

    Args:
        block: Distances `(q, g)`, NaN where the entry is ignored.
        k: Length of each list.

    Returns:
        Indices and distances `(q, k)`, nearest first; index −1 and distance infinity where a row has fewer entries.
    """
    kept = min(k, block.shape[1])
    indices = torch.full((len(block), k), -1, dtype=torch.int64, device=block.device)
    distances = torch.full((len(block), k), torch.inf, device=block.device)
    if kept == 0:
        return indices, distances
    if block.device.type == "cpu":
        _nearest_by_rows(block.numpy(), kept, indices.numpy(), distances.numpy())
        return indices, distances
    _nearest_at_once(block, kept, indices, distances)
    return indices, distances


def _nearest_by_rows(block: NDArray[np.float32], k: int, indices: Integers, distances: NDArray[np.float32]) -> None:
    def select(row: int) -> None:
        values = block[row]
        last = np.partition(values, k - 1)[k - 1]
        columns = np.flatnonzero(~np.isnan(values) if np.isnan(last) else values <= last)
        columns = columns[values[columns].argsort(kind="stable")[:k]]
        indices[row, : len(columns)] = columns
        distances[row, : len(columns)] = values[columns]

    for_each(select, len(block))


def _nearest_at_once(block: Tensor, k: int, indices: Tensor, distances: Tensor) -> None:
    """The same by few large operations."""
    values, order = block.sort(dim=1, stable=True)
    listed = values[:, :k].isnan().logical_not()
    indices[:, :k] = order[:, :k].where(listed, indices[:, :k])
    distances[:, :k] = values[:, :k].where(listed, distances[:, :k])
