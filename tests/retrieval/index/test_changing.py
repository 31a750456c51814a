"""Indexes that lose entries: masked at once, taken out later; against plain sorting and an index built anew."""

import numpy as np
import pytest

from src.retrieval import Index, recall, search
from tests.near_ties import assert_same_lists

KINDS = ["exact", "torch", "ivf_flat", "ivf_pq", "hnsw"]
OPTIONS = {
    "ivf_flat": {"n_lists": 6, "n_probes": 6},
    "ivf_pq": {"n_lists": 4, "n_probes": 4, "pq_bytes": 12},
    "hnsw": {"ef_search": 600},
}
pytestmark = pytest.mark.filterwarnings("ignore:ivf_.* learns from")


@pytest.fixture
def made():
    rng = np.random.default_rng()
    gallery, query = (rng.normal(size=(count, 12)).astype(np.float32) for count in (500, 8))
    return gallery, query, rng.random(500) < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_kept_is_found(kind, made):
    gallery, query, kept = made
    found, distances = Index.build(gallery, kind, **OPTIONS.get(kind, {})).search(query, 400, kept)
    count = int(kept.sum())
    wanted = np.linalg.norm(query[:, None].astype(np.float64) - gallery[kept], axis=2)
    order = np.flatnonzero(kept)[np.argsort(wanted, axis=1)][:, :400]
    if kind == "ivf_pq":  # at distances of its own
        assert all(sorted(line) == np.flatnonzero(kept).tolist() for line in found[:, :count])
    else:
        assert kept[found[:, :count]].all()
        assert_same_lists((found[:, :count], distances[:, :count]), (order, np.sort(wanted, axis=1)[:, :400]))
    assert (found[:, count:] == -1).all()
    assert np.isinf(distances[:, count:]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taken_out_is_as_if_it_had_never_been_there(kind, made, tmp_path):
    gallery, query, kept = made
    changed = Index.build(gallery, kind, **OPTIONS.get(kind, {}))
    changed.remove(np.flatnonzero(~kept))
    more = np.random.default_rng(1).normal(size=(40, 12)).astype(np.float32)
    changed.extend(more)
    rest = np.concatenate([gallery[kept], more])
    assert len(changed) == len(rest)
    changed.save(tmp_path)
    changed = Index.load(tmp_path)
    built = Index.build(rest, kind, **OPTIONS.get(kind, {}))
    exact = search(query, rest, 40)
    if kind == "ivf_pq":  # which keeps the codes that it learnt from all
        assert recall(changed.search(query, 20), exact) > recall(built.search(query, 20), exact) - 0.05
        return
    assert_same_lists(changed.search(query, 20), built.search(query, 20))


def test_a_graph_that_lost_entries_is_the_one_built_of_the_rest(made):
    """With few candidates, where it misses some: the same some."""
    gallery, query, kept = made
    changed = Index.build(gallery, "hnsw", m=4, ef_construction=20, ef_search=5)
    changed.remove(np.flatnonzero(~kept))
    built = Index.build(gallery[kept], "hnsw", m=4, ef_construction=20, ef_search=5)
    for ours, theirs in zip(changed.search(query, 10), built.search(query, 10), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_wrong_entries_and_masks_are_refused(made):
    index = Index.build(made[0], "exact")
    with pytest.raises(ValueError, match="entries 3 to 500 are not all among the 500"):
        index.remove(np.array([500, 3]))
    with pytest.raises(ValueError, match=r"kept has the shape \(3,\), expected \(500,\)"):
        index.search(made[1], 3, np.ones(3, dtype=bool))
    index.remove(np.array([], dtype=np.int64))
    assert len(index) == 500
