"""Sparse rows, with just the operations that re-ranking needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.retrieval.relevance import Integers


@dataclass(frozen=True)
class SparseRows:
    """Rows of which only some entries are kept; those of row i lie at `starts[i]:starts[i + 1]`.

    Attributes:
        starts: `(rows + 1,)`.
        columns: Column of each entry, `(entries,)`.
        values: Value of each entry, `(entries,)`.
    """

    starts: Integers
    columns: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def from_pairs(cls, count: int, rows: Integers, columns: Integers, values: NDArray[np.floating]) -> "SparseRows":
        """`count` rows from entries in order of row."""
        starts = np.searchsorted(rows, np.arange(count + 1))
        return cls(starts, columns.astype(np.int32), values.astype(np.float32))

    @classmethod
    def stacked(cls, parts: Sequence["SparseRows"]) -> "SparseRows":
        """All rows of the parts, one part below the other."""
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(np.diff(part.starts) for part in parts)])
        columns = np.concatenate([np.empty(0, dtype=np.int32), *(part.columns for part in parts)])
        values = np.concatenate([np.empty(0, dtype=np.float32), *(part.values for part in parts)])
        return cls(np.cumsum(lengths), columns, values)

    def rows_from(self, first: int) -> "SparseRows":
        """The rows from number `first` on."""
        skipped = self.starts[first]
        return SparseRows(self.starts[first:] - skipped, self.columns[skipped:], self.values[skipped:])

    def transposed(self, n_columns: int) -> "SparseRows":
        """Columns as rows."""
        order = np.argsort(self.columns, kind="stable")
        rows = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        starts = np.searchsorted(self.columns[order], np.arange(n_columns + 1))
        return SparseRows(starts, rows[order], self.values[order])

    def row(self, number: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Columns and values of one row."""
        entries = slice(self.starts[number], self.starts[number + 1])
        return self.columns[entries], self.values[entries]

    def positions(self, rows: NDArray[np.integer]) -> tuple[Integers, Integers]:
        """Positions of the entries of some rows: for each entry, which of `rows` it belongs to, and its place."""
        first = self.starts[rows]
        lengths = self.starts[rows + 1] - first
        which = np.repeat(np.arange(len(rows)), lengths)
        return which, np.arange(len(which)) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
