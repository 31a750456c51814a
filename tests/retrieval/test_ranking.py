"""Both ways of ranking, by rows and at once, against a stable sort."""

import numpy as np
import pytest
import torch

from src.retrieval import ranking
from src.retrieval.relevance import Pairs


def random_block(seed, levels):
    rng = np.random.default_rng(seed)
    block = rng.integers(0, levels, (13, 60)).astype(np.float32)
    block[rng.random(block.shape) < 0.1] = np.inf
    positive = (rng.random(block.shape) < 0.15) & (np.arange(13) != 4)[:, None]  # row 4 has none
    ignored = (rng.random(block.shape) < 0.1) & ~positive
    block[ignored] = np.nan
    return block, positive


def stable_order(row):
    return [column for column in np.argsort(row, kind="stable") if not np.isnan(row[column])]


@pytest.mark.parametrize("levels", [1, 4, 10_000])
def test_ranks_and_ties(levels):
    block, positive = random_block(levels, levels)
    expected, ties = [], 0
    for row, right in zip(block, positive, strict=True):
        order = stable_order(row)
        expected += [rank for rank, column in enumerate(order, start=1) if right[column]]
        ties += sum(row[a] == row[b] for a in order for b in order if right[a] and not right[b])
    pairs = Pairs(*np.nonzero(positive))
    by_rows = ranking.rank_positives(torch.from_numpy(block), pairs)
    at_once = ranking._rank_at_once(torch.from_numpy(block), pairs)
    for ranks, found_ties in (by_rows, at_once):
        assert ranks.tolist() == expected
        assert found_ties == ties


@pytest.mark.parametrize("k", [1, 5, 55, 60, 70])
@pytest.mark.parametrize("levels", [1, 4, 10_000])
def test_nearest(levels, k):
    block, _ = random_block(levels, levels)
    indices, distances = ranking.nearest(torch.from_numpy(block), k)
    for row, found, values in zip(block, indices.tolist(), distances.numpy(), strict=True):
        order = stable_order(row)[:k]
        assert found == order + [-1] * (k - len(order))
        np.testing.assert_array_equal(values, np.concatenate([row[order], np.full(k - len(order), np.inf)]))
    at_once = torch.full_like(indices, -1), torch.full_like(distances, torch.inf)
    ranking._nearest_at_once(torch.from_numpy(block), min(k, 60), *at_once)
    assert torch.equal(at_once[0], indices)
    assert torch.equal(at_once[1], distances)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_blocks(shape):
    block = torch.empty(shape)
    nobody = Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    assert ranking.rank_positives(block, nobody)[0].shape == (0,)
    assert ranking._rank_at_once(block, nobody)[0].shape == (0,)
    indices, distances = ranking.nearest(block, 2)
    assert indices.tolist() == [[-1, -1]] * shape[0]
    assert distances.isinf().all()
