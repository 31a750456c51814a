"""Batch samplers: which images form a training batch, the same for any number of workers and processes."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch.utils.data import Sampler

from src.data.samplers.schedule import Rows, cut, most_batches, schedule
from src.data.table import DOMAINS, DataError
from src.runtime.ranges import Positive

log = logging.getLogger(__name__)


class Draw(NamedTuple):
    """One image of one batch.

    `(epoch, number)` names the draw uniquely over all processes, so that whatever is random about the image can be a
    function of it.

    Attributes:
        row: Row of the record table.
        epoch: The epoch.
        number: Position in the epoch, counted over the batches of all processes.
    """

    row: int
    epoch: int
    number: int


class BatchSampler(Sampler[list[Draw]], ABC):
    """Base of the samplers: each epoch is one list of batches, drawn alike in all processes and dealt out in turn.

    The number of batches depends on the table only, so it is the same in every epoch; the few that cannot be dealt out
    evenly are left out.

    Args:
        batch_size: Images in a batch.
        n_batches: Batches in an epoch, over all processes.
        seed: Seed of the run.
        rank: Number of this process.
        world_size: Number of processes.

    Attributes:
        repeat: Draw the batches of the first epoch in every epoch, to see whether a model can learn them by heart.
        trained: An epoch, and how many of its batches to leave out because a stopped training has had them.

    Raises:
        DataError: If there is not one batch for each process, or a batch is of one image.
    """

    def __init__(self, batch_size: int, n_batches: int, seed: int, rank: int, world_size: int) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.repeat = False
        self.trained = (0, 0)
        self._n_batches = n_batches
        if batch_size < 2:
            raise DataError(
                "A training batch is of one image, of which batch normalisation has no statistics; pass "
                "sampler.batch_size=2 or more, or more of sampler.ids and sampler.images."
            )
        if n_batches < world_size:
            raise DataError(
                f"The training images fill {n_batches} batches of {batch_size}, expected one for each of {world_size} "
                "processes at least; take smaller batches or fewer processes."
            )

    @abstractmethod
    def _batches(self, rng: np.random.Generator) -> Iterator[Rows]:
        """The rows of each batch of an epoch, `_n_batches` of them."""

    @property
    def sampler(self) -> "BatchSampler":
        """Itself: Lightning announces a new epoch to `dataloader.batch_sampler.sampler` and to nothing else of ours."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._n_batches // self.world_size

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch = 0 if self.repeat else self.epoch
        # A loader may ask twice for the same epoch, so nothing is forgotten here.
        skipped = self.trained[1] if self.epoch == self.trained[0] else 0
        start, stop = skipped * self.world_size, len(self) * self.world_size
        for number, rows in enumerate(self._batches(np.random.default_rng((self.seed, epoch)))):
            if start <= number < stop and number % self.world_size == self.rank:
                first = number * self.batch_size
                yield [Draw(row, epoch, first + place) for place, row in enumerate(rows.tolist())]


class PlainSampler(BatchSampler):
    """Every image once an epoch, in random order; the last batch is left out if it is not full.

    Args:
        table: The training rows of the record table, under their row numbers.
        batch_size: Images in a batch.
        seed: Seed of the run.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self, table: pd.DataFrame, batch_size: Positive, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(batch_size, len(table) // batch_size, seed, rank, world_size)
        self._rows = table.index.to_numpy(dtype=np.int64)

    def _batches(self, rng: np.random.Generator) -> Iterator[Rows]:
        order = rng.permutation(self._rows)[: self._n_batches * self.batch_size]
        yield from order.reshape(self._n_batches, self.batch_size)


class ClassBalancedSampler(PlainSampler):
    """As many images of every identity: each place of a batch draws an identity, then one of its images.

    An epoch has as many batches as with `PlainSampler`.

    Args:
        table: The training rows of the record table, under their row numbers.
        batch_size: Images in a batch.
        seed: Seed of the run.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self, table: pd.DataFrame, batch_size: Positive, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(table, batch_size, seed, rank, world_size)
        identity = table.groupby(["dataset", "vehicle_id"], sort=True).ngroup().to_numpy()
        self._rows = self._rows[np.argsort(identity, kind="stable")]
        self._counts = np.bincount(identity)
        self._first = np.cumsum(self._counts) - self._counts

    def _batches(self, rng: np.random.Generator) -> Iterator[Rows]:
        shape = (self._n_batches, self.batch_size)
        identity = rng.integers(len(self._counts), size=shape)
        yield from self._rows[self._first[identity] + rng.integers(self._counts[identity])]


class _IdentityBatches(BatchSampler):
    """Batches of P identities with a fixed number of images from each of an identity's groups.

    An identity's images are cut into chunks: as many as its largest group fills, the last filled up with its own images
    again, smaller groups gone through again and again. Every chunk is used once an epoch, up to the few that do not
    fill a batch.
    """

    def __init__(
        self, ids: int, groups: Sequence[Sequence[Rows]], sizes: Sequence[int], seed: int, rank: int, world_size: int
    ) -> None:
        self._ids = ids
        self._groups = groups
        self._sizes = sizes
        self._chunks = np.array(
            [max(-(-len(rows) // size) for rows, size in zip(group, sizes, strict=True)) for group in groups],
            dtype=np.int64,
        )
        super().__init__(ids * sum(sizes), most_batches(self._chunks, ids), seed, rank, world_size)

    def _batches(self, rng: np.random.Generator) -> Iterator[Rows]:
        chunks = [
            np.concatenate([cut(rows, size, count, rng) for rows, size in zip(group, self._sizes, strict=True)], axis=1)
            for group, count in zip(self._groups, self._chunks.tolist(), strict=True)
        ]
        used = np.zeros(len(chunks), dtype=np.int64)
        for identities in schedule(self._chunks, self._ids, self._n_batches, rng):
            yield np.concatenate([chunks[i][used[i]] for i in identities.tolist()])
            used[identities] += 1


class IdentitySampler(_IdentityBatches):
    """P × K batches: P identities with K images each (Hermans et al., "In Defense of the Triplet Loss", 2017).

    Args:
        table: The training rows of the record table, under their row numbers.
        ids: P.
        images: K.
        seed: Seed of the run.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        DataError: If there are fewer than P identities.
    """

    def __init__(
        self, table: pd.DataFrame, ids: Positive, images: Positive, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        groups = [[rows] for rows in _rows_by_identity(table).values()]
        if len(groups) < ids:
            raise DataError(
                f"A batch takes {ids} identities, but the training set has {len(groups)}; "
                f"pass sampler.ids={len(groups)} or fewer."
            )
        super().__init__(ids, groups, [images], seed, rank, world_size)


class DayNightSampler(_IdentityBatches):
    """P × (K day + K night) batches (DNDM, Li et al., CVPR 2024: 8 identities with 4 day and 4 night images).

    Args:
        table: The training rows of the record table, under their row numbers.
        ids: P.
        day: Day images of each identity.
        night: Night images of each identity.
        seed: Seed of the run.
        rank: Number of this process.
        world_size: Number of processes.

    Attributes:
        left_out: Number of identities that lack one of the domains and are never drawn.

    Raises:
        DataError: If there are fewer than P identities with both domains.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        ids: Positive,
        day: Positive,
        night: Positive,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        domains = [_rows_by_identity(table[table["domain"] == domain]) for domain in DOMAINS]
        both = sorted(domains[0].keys() & domains[1].keys())
        self.left_out = len(domains[0].keys() | domains[1].keys()) - len(both)
        if len(both) < ids:
            raise DataError(
                f"A batch takes {ids} identities seen by day and by night, but the training set has {len(both)} (and "
                f"{self.left_out} seen in one of them only); pass sampler.ids={len(both)} or fewer."
            )
        if self.left_out:
            log.info("%d identities are seen only by day or only by night and never drawn.", self.left_out)
        groups = [[rows[identity] for rows in domains] for identity in both]
        super().__init__(ids, groups, [day, night], seed, rank, world_size)


def _rows_by_identity(table: pd.DataFrame) -> dict[tuple[str, int], Rows]:
    """(data set, vehicle) → its rows; vehicles of different data sets may have the same number."""
    rows = table.index.to_numpy(dtype=np.int64)
    by_identity: dict[Any, Any] = {**table.groupby(["dataset", "vehicle_id"]).indices}
    return {identity: rows[places] for identity, places in by_identity.items()}
