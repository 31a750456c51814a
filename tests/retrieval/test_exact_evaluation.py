"""The evaluator against a slow reference: one query at a time, one entry at a time."""

import numpy as np
import pytest
import torch

from src.retrieval import MISSED, Relevance, evaluate, evaluate_distance

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def reference(distances, query_ids, gallery_ids, ignored, ap="standard"):
    """Per query: average precision, first hit, inverse negative penalty, tied pairs; None without a positive."""
    results = []
    for q, row in enumerate(distances):
        ranking = [g for g in np.argsort(row, kind="stable") if not ignored(q, g)]
        hits = [query_ids[q] == gallery_ids[g] != -1 for g in ranking]
        if not any(hits):
            results.append(None)
            continue
        n_positives, found, area, old_recall, old_precision = sum(hits), 0, 0.0, 0.0, 1.0
        precisions = []
        for rank, hit in enumerate(hits, start=1):
            found += hit
            recall, precision = found / n_positives, found / rank
            area += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
            if hit:
                precisions.append(precision)
                last = rank
        ties = 0
        for g, hit in zip(ranking, hits, strict=True):
            if hit:
                ties += sum(row[g] == row[h] for h, other in zip(ranking, hits, strict=True) if not other)
        average = sum(precisions) / n_positives if ap == "standard" else area
        results.append((average, hits.index(True) + 1, n_positives / last, ties))
    return results


def assert_equal(result, expected):
    assert result.valid.tolist() == [one is not None for one in expected]
    for q, one in enumerate(expected):
        if one is not None:
            assert (result.ap[q], result.first_hit[q], result.inp[q]) == pytest.approx(one[:3], abs=1e-12)
    found = [one for one in expected if one is not None]
    assert result.ties == sum(one[3] for one in found)
    summary = result.summary(ranks=(1, 5))
    assert summary["mAP"] == pytest.approx(np.mean([one[0] for one in found]))
    assert summary["mINP"] == pytest.approx(np.mean([one[2] for one in found]))
    for k in (1, 5):
        assert summary["rank"][str(k)] == pytest.approx(np.mean([one[1] <= k for one in found]))
    assert (summary["queries"], summary["skipped"]) == (len(expected), len(expected) - len(found))


class Task:
    """Random labels, and features of small integers: their distances are exact and tie often."""

    def __init__(self, seed, n_queries=23, n_gallery=101, dimensions=3):
        rng = np.random.default_rng(seed)
        self.query = rng.integers(-3, 4, (n_queries, dimensions)).astype(np.float32)
        self.gallery = rng.integers(-3, 4, (n_gallery, dimensions)).astype(np.float32)
        self.query_ids = rng.integers(0, 30, n_queries)
        self.gallery_ids = rng.integers(-1, 15, n_gallery)
        self.query_cameras = rng.integers(0, 3, n_queries)
        self.gallery_cameras = rng.integers(0, 3, n_gallery)
        self.query_items = rng.permutation(n_queries) + 50
        self.gallery_items = rng.permutation(n_gallery)

    def distances(self):
        return np.linalg.norm(self.query[:, None].astype(np.float64) - self.gallery[None], axis=2)

    def labels(self):
        names = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras", "query_items", "gallery_items")
        return {name: getattr(self, name) for name in names}

    def ignored(self, rule):
        def same_camera(q, g):
            same_id = self.query_ids[q] == self.gallery_ids[g]
            return same_id and self.query_cameras[q] == self.gallery_cameras[g]

        def same_image(q, g):
            return self.query_items[q] == self.gallery_items[g]

        return {"none": lambda q, g: False, "same_camera": same_camera, "same_image": same_image}[rule]

    def expected(self, rule, ap="standard"):
        return reference(self.distances(), self.query_ids, self.gallery_ids, self.ignored(rule), ap)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ap", ["standard", "trapezoid"])
@pytest.mark.parametrize("rule", ["none", "same_camera", "same_image"])
def test_ranks_ties_and_rules_equal_the_reference(rule, ap, device):
    task = Task(seed=len(rule) + len(ap))
    query, gallery = (torch.from_numpy(features).to(device) for features in (task.query, task.gallery))
    result = evaluate(query, gallery, **task.labels(), ignore=rule, ap=ap)
    assert_equal(result, task.expected(rule, ap))
    assert result.ties > 0
    assert result.valid.any()
    assert not result.valid.all()


@pytest.mark.parametrize("rows_in_block", [1, 7, 22, 23, 500])
def test_block_size_does_not_matter(rows_in_block):
    task = Task(seed=rows_in_block)
    block_mb = rows_in_block * len(task.gallery) * 4 / 2**20
    result = evaluate(task.query, task.gallery, **task.labels(), ignore="same_camera", block_mb=block_mb, top_k=4)
    assert_equal(result, task.expected("same_camera"))
    whole = evaluate(task.query, task.gallery, **task.labels(), ignore="same_camera", top_k=4)
    np.testing.assert_array_equal(result.indices, whole.indices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_point_type_is_ranked_in_float32(dtype):
    task = Task(seed=1, n_gallery=5000, n_queries=3)  # wider than one gathered chunk
    query, gallery = (torch.from_numpy(features).to(dtype) for features in (task.query, task.gallery))
    result = evaluate(query, gallery, **task.labels(), ignore="same_camera")
    expected = evaluate(task.query, task.gallery, **task.labels(), ignore="same_camera")
    np.testing.assert_array_equal(result.ap, expected.ap)


def test_random_features_equal_the_reference_in_both_metrics():
    rng = np.random.default_rng(7)
    query, gallery = rng.normal(size=(9, 12)), rng.normal(size=(77, 12))
    query_ids, gallery_ids = rng.integers(0, 5, 9), rng.integers(0, 5, 77)
    euclidean = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    lengths = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(gallery, axis=1)
    for metric, distances in {"euclidean": euclidean, "cosine": 1 - query @ gallery.T / lengths}.items():
        result = evaluate(query, gallery, query_ids, gallery_ids, metric=metric)
        assert_equal(result, reference(distances, query_ids, gallery_ids, lambda q, g: False))


def test_top_k_lists_are_those_of_a_stable_sort_without_ignored_entries():
    task = Task(seed=3)
    result = evaluate(task.query, task.gallery, **task.labels(), ignore="same_camera", top_k=len(task.gallery))
    distances, ignored = task.distances(), task.ignored("same_camera")
    for q in range(len(task.query)):
        ranking = [g for g in np.argsort(distances[q], kind="stable") if not ignored(q, g)]
        padding = len(task.gallery) - len(ranking)
        assert result.indices[q].tolist() == ranking + [-1] * padding
        np.testing.assert_allclose(result.distances[q, : len(ranking)], distances[q, ranking], rtol=1e-6)
        assert np.isinf(result.distances[q, len(ranking) :]).all()


def test_a_positive_at_rank_two_scores_half_by_the_standard_and_a_quarter_by_the_trapezoid_rule():
    query, gallery = np.zeros((1, 1), np.float32), np.array([[1.0], [2.0]], np.float32)
    assert evaluate(query, gallery, [7], [3, 7]).mAP == 0.5
    assert evaluate(query, gallery, [7], [3, 7], ap="trapezoid").mAP == 0.25


def test_a_collapsed_model_ranks_in_gallery_order():
    features = np.ones((40, 8), np.float32)
    ids = np.arange(40) % 8
    result = evaluate(features[:5], features, ids[:5], ids)
    assert_equal(result, reference(np.zeros((5, 40)), ids[:5], ids, lambda q, g: False))
    assert result.ties == 5 * 5 * 35


def test_distractors_are_never_positive():
    features = np.arange(4, dtype=np.float32)[:, None]
    result = evaluate(features[:2], features, [-1, 5], [-1, -1, 5, 5])
    assert result.valid.tolist() == [False, True]
    assert result.n_positives.tolist() == [0, 2]


def test_tracks_are_ranked_by_their_nearest_image():
    task = Task(seed=5)
    rng = np.random.default_rng(5)
    tracks = rng.integers(0, 20, len(task.gallery)) * 3  # numbers need not be contiguous
    ids, cameras = rng.integers(0, 15, 60), rng.integers(0, 3, 60)
    unique = np.unique(tracks)
    distances = np.stack([task.distances()[:, tracks == track].min(axis=1) for track in unique], axis=1)

    def ignored(q, t):
        same_id = task.query_ids[q] == ids[unique[t]]
        return same_id and task.query_cameras[q] == cameras[unique[t]]

    result = evaluate(
        task.query,
        task.gallery,
        task.query_ids,
        ids[tracks],
        query_cameras=task.query_cameras,
        gallery_cameras=cameras[tracks],
        gallery_tracks=tracks,
        ignore="same_camera",
        ap="trapezoid",
        block_mb=1e-3,
    )
    assert_equal(result, reference(distances, task.query_ids, ids[unique], ignored, "trapezoid"))
    assert result.n_gallery == len(unique)


def test_mixed_tracks_are_refused():
    features = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="Track 4 has both 1 and 2 in gallery_ids"):
        evaluate(features, features, [1, 1, 1], [1, 2, 2], gallery_tracks=[4, 4, 5])
    with pytest.raises(ValueError, match="Track 4 has both 0 and 1 in gallery_cameras"):
        evaluate(features, features, [1, 1, 1], [1, 1, 2], gallery_cameras=[0, 1, 1], gallery_tracks=[4, 4, 5])
    with pytest.raises(ValueError, match="drop one"):
        evaluate(features, features, [1, 1, 1], [1, 1, 2], gallery_tracks=[4, 4, 5], ignore="same_image")


@pytest.mark.parametrize(("n_queries", "n_gallery"), [(0, 4), (4, 0), (0, 0)])
def test_empty_sets_give_no_numbers(n_queries, n_gallery):
    query, gallery = np.zeros((n_queries, 3), np.float32), np.zeros((n_gallery, 3), np.float32)
    result = evaluate(query, gallery, np.zeros(n_queries, int), np.zeros(n_gallery, int), top_k=2)
    assert np.isnan(result.mAP)
    assert np.isnan(result.mINP)
    assert np.isnan(result.cmc(1))
    assert result.summary()["skipped"] == n_queries
    assert (result.indices == -1).all()


@pytest.mark.parametrize("filter_counts", ["miss", "drop"])
def test_an_infinite_distance_is_an_entry_that_a_filter_took_out(dense_distance, filter_counts):
    rng = np.random.default_rng(8)
    matrix = rng.integers(0, 6, (30, 40)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.4] = np.inf
    query_ids, gallery_ids = rng.integers(0, 20, 30), rng.integers(0, 20, 40)
    cameras = rng.integers(0, 2, 30), rng.integers(0, 2, 40)
    relevance = Relevance(
        query_ids, gallery_ids, query_cameras=cameras[0], gallery_cameras=cameras[1], ignore="same_camera"
    )
    result = evaluate_distance(dense_distance(matrix), relevance, filter_counts=filter_counts, top_k=40)

    n_filtered = 0
    for q, row in enumerate(matrix):
        counted = [g for g in range(40) if not (query_ids[q] == gallery_ids[g] and cameras[0][q] == cameras[1][g])]
        ranking = [g for g in np.argsort(row, kind="stable") if g in counted and np.isfinite(row[g])]
        hits = [rank for rank, g in enumerate(ranking, start=1) if query_ids[q] == gallery_ids[g]]
        filtered = sum(query_ids[q] == gallery_ids[g] and np.isinf(row[g]) for g in counted)
        n_filtered += filtered
        n_positives = len(hits) + (filtered if filter_counts == "miss" else 0)
        assert result.n_positives[q] == n_positives
        assert result.indices[q].tolist() == ranking + [-1] * (40 - len(ranking))
        if n_positives == 0:
            assert not result.valid[q]
            continue
        precisions = [found / rank for found, rank in enumerate(hits, start=1)]
        assert result.ap[q] == pytest.approx(sum(precisions) / n_positives)
        assert result.inp[q] == pytest.approx(0 if len(hits) < n_positives else n_positives / hits[-1])
        assert result.first_hit[q] == (hits[0] if hits else MISSED)
    assert result.filtered == n_filtered > 0


def test_distances_that_do_not_fit_the_labels_are_refused(dense_distance):
    with pytest.raises(ValueError, match="labels for 1 queries and 2 gallery entries, expected 1 and 3"):
        evaluate_distance(dense_distance(np.zeros((1, 3), np.float32)), Relevance([1], [1, 1]))
    with pytest.raises(ValueError, match="is NaN"):
        evaluate_distance(dense_distance(np.array([[np.nan, 1.0]], np.float32)), Relevance([1], [1, 1]))
    with pytest.raises(ValueError, match="block_mb is 0"):
        evaluate_distance(dense_distance(np.zeros((1, 1), np.float32)), Relevance([1], [1]), block_mb=0)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_evaluates_in_the_mode_of_the_caller_on_any_number_of_threads(threads, mode):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with mode():
            features = torch.randn(3000, 8)
            ids = torch.arange(3000) % 7
            inside = evaluate(features[:50], features, ids[:50], ids, top_k=3)
        outside = evaluate(features[:50].numpy(), features.numpy(), ids[:50], ids, top_k=3)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(inside.ap, outside.ap)
    np.testing.assert_array_equal(inside.indices, outside.indices)
