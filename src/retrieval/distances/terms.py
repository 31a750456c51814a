"""Distance terms from what is known about the images, and sums of distances.

A term is defined for any rows of the two sets it was made for, like the appearance distance, so that neighbours and
re-ranking can use the sum as well as the final ranking can.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from src.retrieval.distances.feature_distance import Distance, PairDistance, Rows


class Term(ABC):
    """A distance that is a function of two records, one of the rows and one of the columns."""

    def __init__(self, n_rows: int, n_columns: int, device: torch.device) -> None:
        self._shape = n_rows, n_columns
        self._device = device

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, number of columns."""
        return self._shape

    @property
    def device(self) -> torch.device:
        """Device of the blocks."""
        return self._device

    @abstractmethod
    def measure(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Distances between rows and columns given by number, in float32 and the shape the two broadcast to."""

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Distances of some rows to some columns, float32 `(q, g)`."""
        rows, columns = (_numbers(side, self.device) for side in (queries, gallery))
        return self.measure(rows[:, None], columns[None])

    def pairs(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Distances of as many rows to as many columns, float32 `(p,)`."""
        return self.measure(queries, gallery)


class _Labels(Term):
    """A term of one number a record.

    Args:
        rows: Of each row.
        columns: Of each column.
        device: Where the blocks shall lie.
    """

    def __init__(self, rows: ArrayLike, columns: ArrayLike, device: torch.device) -> None:
        self._rows, self._columns = (torch.tensor(np.asarray(side), device=device) for side in (rows, columns))
        super().__init__(len(self._rows), len(self._columns), device)

    def measure(self, rows: Tensor, columns: Tensor) -> Tensor:
        """See `Term`."""
        return self.compare(self._rows[rows], self._columns[columns])

    @abstractmethod
    def compare(self, row: Tensor, column: Tensor) -> Tensor:
        """Distances between numbers, float32."""


class Mismatch(_Labels):
    """`weight` where two records carry different labels, else 0; unknown labels (−1) match everything.

    The attribute constraint δ·[T_i ≠ T_j] of the attribute-guided network (Eq. 6, with the evident correction: both
    penalties apply where both attributes differ).

    Args:
        rows: Label of each row, integers.
        columns: Label of each column.
        weight: The penalty δ.
        device: Where the blocks shall lie.
    """

    def __init__(self, rows: ArrayLike, columns: ArrayLike, weight: float, device: torch.device) -> None:
        super().__init__(rows, columns, device)
        self._weight = weight

    def compare(self, row: Tensor, column: Tensor) -> Tensor:
        """See `Term`."""
        return ((row != column) & (row >= 0) & (column >= 0)).float().mul_(self._weight)


class SameGroupFilter(_Labels):
    """Takes an entry out of the list (infinite distance) if it is of the query's group; −1 is of no group.

    Camera verification (VehicleNet, Section IV-C): the group is the camera, or the cluster that an image fell into by
    its background.

    Args:
        rows: Group of each query, integers.
        columns: Group of each gallery entry.
        device: Where the blocks shall lie.
    """

    def compare(self, row: Tensor, column: Tensor) -> Tensor:
        """See `Term`."""
        return _hidden((row == column) & (row >= 0))


class TimeFilter(_Labels):
    """Takes an entry out of the list (infinite distance) if it was seen more than τ before or after the query.

    The temporal annotation of VehicleNet (Section IV-C). An unknown time (NaN) stays in.

    Args:
        rows: Time of each query.
        columns: Time of each gallery entry, in the same unit.
        window: The longest gap τ.
        device: Where the blocks shall lie.
    """

    def __init__(self, rows: ArrayLike, columns: ArrayLike, window: float, device: torch.device) -> None:
        super().__init__(np.asarray(rows, dtype=np.float64), np.asarray(columns, dtype=np.float64), device)
        self._window = window

    def compare(self, row: Tensor, column: Tensor) -> Tensor:
        """See `Term`."""
        return _hidden((row - column).abs() > self._window)


class Sum:
    """Weighted sum of distances between the same two sets.

    Args:
        parts: The distances; the sum measures single pairs if all of them do.
        weights: One a distance; all 1 if not given.

    Raises:
        ValueError: If there are no parts, or shapes or the numbers of parts and weights differ.
    """

    def __init__(self, parts: Sequence[Distance], weights: Sequence[float] | None = None) -> None:
        self._parts = tuple(parts)
        self._weights = (1.0,) * len(self._parts) if weights is None else tuple(weights)
        shapes = sorted({part.shape for part in self._parts})
        if len(shapes) != 1:
            raise ValueError(f"Distances of shapes {shapes} cannot be added: all must be between the same two sets.")
        if len(self._weights) != len(self._parts):
            raise ValueError(f"There are {len(self._weights)} weights for {len(self._parts)} distances: give each one.")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries, number of gallery entries."""
        return self._parts[0].shape

    @property
    def device(self) -> torch.device:
        """Device of the blocks."""
        return self._parts[0].device

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Distances of some queries to some gallery entries, float32 `(q, g)`."""
        return self._add([part.block(queries, gallery) for part in self._parts])

    def pairs(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Distances of single pairs, float32 `(p,)`."""
        parts = [part for part in self._parts if isinstance(part, PairDistance)]
        return self._add([part.pairs(queries, gallery) for part in parts])

    def _add(self, values: Sequence[Tensor]) -> Tensor:
        total = values[0] if self._weights[0] == 1 else values[0].mul_(self._weights[0])
        for value, weight in zip(values[1:], self._weights[1:], strict=True):
            total.add_(value, alpha=weight)
        return total


class Part:
    """The distance from the first `n_queries` of a set to the rest of it.

    Args:
        everything: Distance of the set to itself, the queries first.
        n_queries: How many of the set are queries; they come first.
    """

    def __init__(self, everything: Distance, n_queries: int) -> None:
        self._everything = everything
        self._n_queries = n_queries

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries, number of gallery entries."""
        return self._n_queries, self._everything.shape[1] - self._n_queries

    @property
    def device(self) -> torch.device:
        """Device of the blocks."""
        return self._everything.device

    def block(self, queries: Rows, gallery: Rows) -> Tensor:
        """Distances of some queries to some gallery entries, float32 `(q, g)`."""
        return self._everything.block(queries, shifted(gallery, self._n_queries))


def shifted(rows: Rows, by: int) -> Rows:
    """Rows counted from another start."""
    return slice(rows.start + by, rows.stop + by) if isinstance(rows, slice) else rows + by


def _numbers(rows: Rows, device: torch.device) -> Tensor:
    return torch.arange(rows.start, rows.stop, device=device) if isinstance(rows, slice) else rows


def _hidden(out: Tensor) -> Tensor:
    return torch.zeros(out.shape, device=out.device).masked_fill_(out, torch.inf)
