"""Gallery entries that are right for a query, and those that do not count."""

from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

DISTRACTOR = -1  # the identity of gallery images that show none of the known vehicles

Integers: TypeAlias = NDArray[np.int64]
Ignore = Literal["none", "same_camera", "same_image"]
Labels: TypeAlias = torch.Tensor | ArrayLike


class Pairs(NamedTuple):
    """(query, gallery) pairs in order of row, then of column."""

    rows: Integers
    columns: Integers

    def where(self, keep: NDArray[np.bool_]) -> "Pairs":
        """The pairs that `keep` marks."""
        return Pairs(self.rows[keep], self.columns[keep])


class Relevance:
    """The ground truth of a retrieval task.

    A gallery entry is positive for a query of the same identity. Ignored entries are neither right nor wrong: they
    are taken out of the query's ranking.

    Args:
        query_ids: Identity of each query, `(Q,)` integers.
        gallery_ids: Identity of each gallery entry, `(G,)` integers; −1 marks a distractor, which is never positive.
        query_cameras: Camera of each query, needed by `ignore="same_camera"`.
        gallery_cameras: Camera of each gallery entry, needed by `ignore="same_camera"`.
        query_items: Image number of each query, needed by `ignore="same_image"`.
        gallery_items: Image number of each gallery entry, needed by `ignore="same_image"`.
        ignore: `"same_camera"` ignores entries of the query's identity *and* camera (the Market-1501 rule),
            `"same_image"` ignores the query's own image, `"none"` ignores nothing.

    Raises:
        ValueError: If lengths differ, a needed array is missing, or `ignore` is unknown.
        TypeError: If labels are not integers.
    """

    def __init__(
        self,
        query_ids: Labels,
        gallery_ids: Labels,
        *,
        query_cameras: Labels | None = None,
        gallery_cameras: Labels | None = None,
        query_items: Labels | None = None,
        gallery_items: Labels | None = None,
        ignore: Ignore = "none",
    ) -> None:
        if ignore not in get_args(Ignore):
            raise ValueError(f"ignore is {ignore!r}, expected one of {', '.join(get_args(Ignore))}.")
        query = integer_labels("query_ids", query_ids)
        gallery = integer_labels("gallery_ids", gallery_ids)
        self.n_queries, self.n_gallery = len(query), len(gallery)
        self._ignore = ignore
        self._same_id = _Matches(query, gallery, nothing=DISTRACTOR)
        if ignore == "same_camera":
            self._query_keys, self._gallery_keys = self._keys("cameras", query_cameras, gallery_cameras)
        if ignore == "same_image":
            self._query_keys, self._gallery_keys = self._keys("items", query_items, gallery_items)
            self._same_item = _Matches(self._query_keys, self._gallery_keys)

    def _keys(self, kind: str, query: Labels | None, gallery: Labels | None) -> tuple[Integers, Integers]:
        if query is None or gallery is None:
            missing = f"query_{kind}" if query is None else f"gallery_{kind}"
            raise ValueError(f"ignore={self._ignore!r} needs {missing}: pass it, or choose ignore='none'.")
        return (
            integer_labels(f"query_{kind}", query, self.n_queries),
            integer_labels(f"gallery_{kind}", gallery, self.n_gallery),
        )

    def pairs(self, start: int, stop: int) -> tuple[Pairs, Pairs]:
        """Positive and ignored pairs of the queries `start:stop`, rows counted from `start`."""
        same = self._same_id.pairs(start, stop)
        if self._ignore == "none":
            return same, same.where(np.zeros(len(same.rows), dtype=bool))
        excluded = self._query_keys[start + same.rows] == self._gallery_keys[same.columns]
        if self._ignore == "same_camera":
            return same.where(~excluded), same.where(excluded)
        return same.where(~excluded), self._same_item.pairs(start, stop)


class _Matches:
    """Finds the gallery entries that carry a query's key without comparing all with all."""

    def __init__(self, query: Integers, gallery: Integers, nothing: int | None = None) -> None:
        self._columns = np.argsort(gallery, kind="stable")
        in_order = gallery[self._columns]
        self._first = np.searchsorted(in_order, query, side="left")
        self._count = np.searchsorted(in_order, query, side="right") - self._first
        if nothing is not None:
            self._count[query == nothing] = 0

    def pairs(self, start: int, stop: int) -> Pairs:
        first, count = self._first[start:stop], self._count[start:stop]
        rows = np.repeat(np.arange(len(count)), count)
        position = np.arange(len(rows)) + np.repeat(first - (np.cumsum(count) - count), count)
        return Pairs(rows, self._columns[position])


def integer_labels(name: str, values: Labels, length: int | None = None) -> Integers:
    """One integer a row as an int64 array; `name` is what error messages call it.

    Raises:
        ValueError: If the values are not one-dimensional or not `length` of them.
        TypeError: If the values are not integers.
    """
    labels = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if labels.ndim != 1:
        raise ValueError(f"{name} has shape {labels.shape}, expected one value a row: pass a one-dimensional array.")
    if length is not None and len(labels) != length:
        raise ValueError(f"{name} has {len(labels)} values, expected {length}: one for each row.")
    if len(labels) == 0:
        return np.empty(0, dtype=np.int64)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"{name} holds {labels.dtype}, expected integers: number the labels first.")
    return labels.astype(np.int64)
