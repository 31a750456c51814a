import itertools
from collections import Counter

import numpy as np
import pytest

from src.data.samplers.schedule import cut, most_batches, schedule


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 4, 7, 9])
@pytest.mark.parametrize("extra", [0, 3])
def test_cut_uses_every_row_equally_often_and_twice_in_a_chunk_only_if_it_must(size, n, extra):
    rows = np.arange(100, 100 + n)
    count = -(-n // size) + extra
    for seed in range(5):
        chunks = cut(rows, size, count, np.random.default_rng(seed))
        assert chunks.shape == (count, size)
        uses = Counter(chunks.ravel().tolist())
        assert set(uses) == set(rows.tolist())
        assert max(uses.values()) - min(uses.values()) <= 1
        if n >= size:
            assert all(len(set(chunk)) == size for chunk in chunks.tolist())


def test_cut_draws_anew():
    rng = np.random.default_rng(0)
    assert len({tuple(cut(np.arange(8), 4, 2, rng).ravel()) for _ in range(10)}) == 10


@pytest.mark.parametrize("ids", [1, 2, 3])
def test_most_batches_is_what_trying_all_ways_finds(ids):
    for chunks in itertools.combinations_with_replacement(range(1, 4), ids + 1):
        assert most_batches(np.array(chunks), ids) == longest(chunks, ids), chunks


def longest(chunks: tuple[int, ...], ids: int) -> int:
    """The most batches of different identities that any order of picks gives."""
    best = 0
    for pick in itertools.combinations([i for i, left in enumerate(chunks) if left], ids):
        rest = tuple(left - (i in pick) for i, left in enumerate(chunks))
        best = max(best, 1 + longest(rest, ids))
    return best


def test_every_batch_is_full_of_different_identities_and_all_chunks_but_a_few_are_used():
    rng = np.random.default_rng(1)
    for _ in range(50):
        chunks = rng.integers(1, 12, rng.integers(5, 30))
        ids = int(rng.integers(1, 6))
        total = most_batches(chunks, ids)
        batches = [batch.tolist() for batch in schedule(chunks, ids, total, rng)]
        assert len(batches) == total >= 1
        assert all(len(set(batch)) == ids for batch in batches)
        used = np.bincount(np.concatenate(batches), minlength=len(chunks))
        assert (used <= chunks).all()
        assert used.sum() == total * ids


def test_chances_stay_in_proportion_to_the_chunks_until_the_end():
    chunks = np.array([9, 9, 5, 1, 3, 3])
    rng = np.random.default_rng(2)
    counts = np.zeros((10, 6))
    for _ in range(3000):
        for number, batch in enumerate(schedule(chunks, 3, 10, rng)):
            counts[number][batch] += 1
    # In each of the ten batches an identity is expected in chunks / 10 of the draws.
    np.testing.assert_allclose(counts / 3000, np.tile(chunks / 10, (10, 1)), atol=0.04)


def test_what_fills_no_batch_differs_from_time_to_time():
    chunks = np.ones(5, dtype=np.int64)
    left_out = set()
    for seed in range(20):
        (batch, other) = schedule(chunks, 2, 2, np.random.default_rng(seed))
        left_out |= set(range(5)) - {*batch.tolist(), *other.tolist()}
    assert left_out == set(range(5))
