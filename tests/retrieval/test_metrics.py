import numpy as np
import pytest

from src.retrieval import MISSED, RetrievalResult, evaluate


def two_queries(**more):
    """Positives at ranks 1 and 4, none, and at rank 3."""
    return RetrievalResult.from_ranks(np.array([1, 4, 3]), np.array([2, 0, 1]), n_gallery=9, **more)


def test_metrics_by_hand():
    result = two_queries(ties=6)
    np.testing.assert_allclose(result.ap, [(1 + 2 / 4) / 2, np.nan, 1 / 3])
    np.testing.assert_allclose(result.inp, [2 / 4, np.nan, 1 / 3])
    assert result.first_hit.tolist() == [1, 0, 3]
    assert result.mAP == pytest.approx((0.75 + 1 / 3) / 2)
    assert result.mINP == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert [result.cmc(k) for k in (1, 2, 3)] == [0.5, 0.5, 1.0]
    assert result.summary(ranks=(1, 3)) == {
        "mAP": result.mAP,
        "mINP": result.mINP,
        "rank": {"1": 0.5, "3": 1.0},
        "queries": 3,
        "gallery": 9,
        "skipped": 1,
        "ties": 6,
        "filtered": 0,
        "filter_counts": "miss",
        "ap": "standard",
    }


def test_trapezoid_by_hand():
    expected = [((1 + 1) / 2 + (1 / 3 + 2 / 4) / 2) / 2, np.nan, (0 + 1 / 3) / 2]
    np.testing.assert_allclose(two_queries(ap="trapezoid").ap, expected)


def test_a_filtered_positive_stays_in_the_denominator_unless_told_otherwise():
    ranks, counts = np.array([2, MISSED, MISSED, 1]), np.array([2, 1, 1])
    missed = RetrievalResult.from_ranks(ranks, counts, n_gallery=9)
    np.testing.assert_array_equal(missed.ap, [1 / 4, 0, 1])
    np.testing.assert_array_equal(missed.inp, [0, 0, 1])
    assert [missed.cmc(k) for k in (1, 2, 1000)] == [1 / 3, 2 / 3, 2 / 3]
    assert (missed.filtered, missed.n_positives.tolist()) == (2, [2, 1, 1])
    dropped = RetrievalResult.from_ranks(ranks, counts, n_gallery=9, filter_counts="drop")
    np.testing.assert_array_equal(dropped.ap, [1 / 2, np.nan, 1])
    np.testing.assert_array_equal(dropped.inp, [1 / 2, np.nan, 1])
    assert dropped.valid.tolist() == [True, False, True]
    assert dropped.summary()["filter_counts"] == "drop"
    assert dropped.filtered == 2


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="ap is 'interpolated'"):
        two_queries(ap="interpolated")
    with pytest.raises(ValueError, match="filter_counts is 'hit'"):
        two_queries(filter_counts="hit")
    with pytest.raises(ValueError, match="k is 0"):
        two_queries().cmc(0)


@pytest.mark.parametrize(("queries", "processes"), [(17, 3), (2, 3)])
def test_shares_of_the_queries_together_are_the_whole(queries, processes):
    rng = np.random.default_rng(queries)
    query, gallery = (rng.integers(0, 3, (n, 2)).astype(np.float32) for n in (queries, 40))  # with ties
    query_ids, gallery_ids = rng.integers(0, 9, queries), rng.integers(0, 9, 40)
    gallery_ids[gallery_ids == query_ids[0]] = -1  # a query with nothing to find
    whole = evaluate(query, gallery, query_ids, gallery_ids, top_k=5)
    shares = [slice(start, None, processes) for start in range(processes)]
    parts = [evaluate(query[share], gallery, query_ids[share], gallery_ids, top_k=5) for share in shares]
    together = RetrievalResult.interleaved(parts)
    assert whole.ties > 0
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(getattr(together, name), value, err_msg=name)
