"""Sparse re-ranking against the authors' dense code, in float64 instead of its float16."""

import numpy as np
import pytest
import torch

from src.retrieval import FeatureDistance, KReciprocalDistance, Relevance, evaluate_distance, k_reciprocal


def dense(query, gallery, k1, k2, lambda_value):
    """`re_ranking` of zhunzhong07/person-re-ranking, unabridged in what it computes."""
    features = np.concatenate([query, gallery]).astype(np.float64)
    original = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    original = (original / original.max(axis=0)).T
    count = len(features)
    encoding = np.zeros((count, count))
    ranking = np.argsort(original, axis=1, kind="stable")

    def mutual(image, k):
        forward = ranking[image, : k + 1]
        return forward[(ranking[forward, : k + 1] == image).any(axis=1)]

    for i in range(count):
        neighbourhood = mutual(i, k1)
        expansion = neighbourhood
        for candidate in neighbourhood:
            others = mutual(candidate, int(np.around(k1 / 2)))
            if len(np.intersect1d(others, neighbourhood)) > 2 / 3 * len(others):
                expansion = np.append(expansion, others)
        expansion = np.unique(expansion)
        weight = np.exp(-original[i, expansion])
        encoding[i, expansion] = weight / weight.sum()
    if k2 != 1:
        encoding = np.stack([encoding[ranking[i, :k2]].mean(axis=0) for i in range(count)])
    jaccard = np.zeros((len(query), count))
    for i in range(len(query)):
        smaller = np.minimum(encoding[i], encoding).sum(axis=1)
        jaccard[i] = 1 - smaller / (2 - smaller)
    final = jaccard * (1 - lambda_value) + original[: len(query)] * lambda_value
    return final[:, len(query) :]


def vehicles(seed, n_queries=20, n_gallery=130, spread=0.8):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, 8))
    ids = rng.integers(0, 12, n_queries + n_gallery)
    features = (centres[ids] + spread * rng.normal(size=(len(ids), 8))).astype(np.float32)
    return features[:n_queries], features[n_queries:], ids[:n_queries], ids[n_queries:]


@pytest.mark.parametrize("lambda_value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 2), (5, 1), (1, 1), (50, 15)])
def test_distances_equal_the_dense_code(k1, k2, lambda_value):
    query, gallery, *_ = vehicles(seed=k1)
    distance = k_reciprocal(query, gallery, k1=k1, k2=k2, lambda_value=lambda_value)
    assert distance.shape == (20, 130)
    block = distance.block(slice(0, 20), slice(0, 130))
    np.testing.assert_allclose(block, dense(query, gallery, k1, k2, lambda_value), atol=1e-5)


def test_fewer_images_than_neighbours():
    query, gallery, *_ = vehicles(seed=1, n_queries=3, n_gallery=6)
    block = k_reciprocal(query, gallery).block(slice(0, 3), slice(0, 6))
    expected = dense(query, gallery, 20, 6, 0.3)
    np.testing.assert_allclose(block, expected, atol=1e-5)


@pytest.mark.parametrize(("n_queries", "n_gallery"), [(0, 5), (5, 0), (0, 0)])
def test_empty_sets(n_queries, n_gallery):
    distance = k_reciprocal(np.ones((n_queries, 2)), np.ones((n_gallery, 2)))
    assert distance.block(slice(0, n_queries), slice(0, n_gallery)).shape == (n_queries, n_gallery)


def test_blocks_of_any_rows_agree():
    query, gallery, *_ = vehicles(seed=2)
    distance = k_reciprocal(query, gallery, k1=10, k2=3)
    whole = distance.block(slice(0, 20), slice(0, 130))
    rows, columns = torch.tensor([19, 3, 3]), torch.tensor([0, 129, 64, 64])
    torch.testing.assert_close(distance.block(rows, columns), whole[rows][:, columns])
    torch.testing.assert_close(distance.block(slice(4, 9), slice(100, 130)), whole[4:9, 100:130])


def test_small_blocks_give_the_same_distances():
    query, gallery, *_ = vehicles(seed=3)
    everything = FeatureDistance(*[np.concatenate([query, gallery])] * 2)
    small = KReciprocalDistance(everything, 20, k1=10, k2=3, block_mb=0.01)
    large = KReciprocalDistance(everything, 20, k1=10, k2=3)
    everywhere = slice(0, 20), slice(0, 130)
    torch.testing.assert_close(small.block(*everywhere), large.block(*everywhere))


def test_it_is_ranked_like_any_distance():
    query, gallery, query_ids, gallery_ids = vehicles(seed=4, spread=1.2)
    relevance = Relevance(query_ids, gallery_ids)
    result = evaluate_distance(k_reciprocal(query, gallery, k1=10, k2=3), relevance)
    ranking = np.argsort(dense(query, gallery, 10, 3, 0.3).round(6), axis=1, kind="stable")
    hits = gallery_ids[ranking] == query_ids[:, None]
    precision = hits.cumsum(axis=1) / np.arange(1, 131)
    expected = [row[hit].mean() for row, hit in zip(precision, hits, strict=True)]
    np.testing.assert_allclose(result.ap, expected, atol=1e-3)
    before = evaluate_distance(FeatureDistance(query, gallery), relevance)
    assert result.mAP > before.mAP


def test_identical_features_are_all_equally_far():
    features = np.ones((9, 4), np.float32)
    block = k_reciprocal(features[:3], features[3:], k1=20, k2=1).block(slice(0, 3), slice(0, 6))
    assert block.isfinite().all()
    assert (block == block[0, 0]).all()


def test_what_does_not_fit_is_refused_before_the_work():
    query, gallery, *_ = vehicles(seed=5)
    with pytest.raises(MemoryError, match="Re-ranking 150 images with k1=20 and k2=6 takes about"):
        k_reciprocal(query, gallery, max_memory_gb=1e-6)
    with pytest.raises(ValueError, match="k1 is 3 and k2 is 5"):
        k_reciprocal(query, gallery, k1=3, k2=5)
    with pytest.raises(ValueError, match=r"lambda_value is 1\.5"):
        k_reciprocal(query, gallery, lambda_value=1.5)
    with pytest.raises(ValueError, match="everything is 20 × 130 with 20 queries"):
        KReciprocalDistance(FeatureDistance(query, gallery), 20)
