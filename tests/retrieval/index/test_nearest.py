import sys

import numpy as np
import pytest
import torch

from src.retrieval import Relevance, search

BACKENDS = ["faiss", "torch"]


def features(seed, n_queries=12, n_gallery=150, dimensions=20):
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(n_gallery, dimensions)).astype(np.float32)
    gallery[40:45] = gallery[0]  # equal distances
    return rng.normal(size=(n_queries, dimensions)).astype(np.float32), gallery


def reference(query, gallery, metric):
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if metric == "euclidean":
        return np.linalg.norm(query[:, None] - gallery, axis=2)
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (query, gallery)]
    return 1 - unit[0] @ unit[1].T


@pytest.mark.parametrize("block_mb", [128, 0.01])
@pytest.mark.parametrize("k", [1, 7, 150, 160])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_lists_are_those_of_a_stable_sort(backend, metric, k, block_mb):
    query, gallery = features(k)
    expected = reference(query, gallery, metric)
    # Equal features are at equal distances, which a matrix product in float64 may round apart.
    order = np.argsort(expected.round(12), axis=1, kind="stable")[:, :k]
    indices, distances = search(query, gallery, k, backend=backend, metric=metric, block_mb=block_mb)
    assert indices.shape == distances.shape == (12, k)
    np.testing.assert_array_equal(indices[:, :150], order)
    np.testing.assert_allclose(distances[:, :150], np.take_along_axis(expected, order, axis=1), rtol=1e-5, atol=1e-6)
    assert (indices[:, 150:] == -1).all()
    assert np.isinf(distances[:, 150:]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_ignored_entries_make_room_for_the_next(backend):
    query, gallery = features(1)
    rng = np.random.default_rng(1)
    query_ids, gallery_ids = rng.integers(0, 3, 12), rng.integers(0, 3, 150)
    query_cameras, gallery_cameras = np.zeros(12, int), rng.integers(0, 2, 150)
    relevance = Relevance(
        query_ids, gallery_ids, query_cameras=query_cameras, gallery_cameras=gallery_cameras, ignore="same_camera"
    )
    for k in (3, 140):
        indices, _ = search(query, gallery, k, backend=backend, relevance=relevance, block_mb=0.05)
        for q, row in enumerate(reference(query, gallery, "euclidean").round(12)):
            ignored = (gallery_ids == query_ids[q]) & (gallery_cameras == 0)
            order = [g for g in np.argsort(row, kind="stable") if not ignored[g]][:k]
            assert indices[q].tolist() == order + [-1] * (k - len(order))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_give_the_lists_of_their_float32_values(dtype, backend):
    query, gallery = (torch.from_numpy(values).to(dtype) for values in features(2))
    found = search(query, gallery, 9, backend=backend)
    expected = search(query.float(), gallery.float(), 9, backend=backend)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_the_distance_to_the_same_image_is_exactly_zero():
    _, gallery = features(3)
    for backend in BACKENDS:
        indices, distances = search(gallery[60:70], gallery, 1, backend=backend)
        assert indices[:, 0].tolist() == list(range(60, 70))
        assert (distances == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_sets(backend):
    query, gallery = features(4)
    indices, distances = search(query, gallery[:0], 3, backend=backend)
    assert (indices == -1).all()
    assert np.isinf(distances).all()
    assert search(query[:0], gallery, 3, backend=backend)[0].shape == (0, 3)


def test_missing_faiss_names_the_other_back_end(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    query, gallery = features(5)
    with pytest.raises(ModuleNotFoundError, match="choose backend='torch'"):
        search(query, gallery, 3)
    assert search(query, gallery, 3, backend="torch")[0].shape == (12, 3)


def test_a_gpu_list_too_long_for_faiss_goes_to_torch(monkeypatch):
    import faiss

    rng = np.random.default_rng(6)
    query, gallery = rng.normal(size=(2, 3)), rng.normal(size=(2100, 3))
    expected = search(query, gallery, 2100, backend="torch")[0]
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "knn_gpu", lambda *_, **__: pytest.fail("FAISS was asked for more than it selects."))
    np.testing.assert_array_equal(search(query, gallery, 2100)[0], expected)


def test_wrong_arguments_are_refused():
    query, gallery = features(7)
    with pytest.raises(ValueError, match="backend is 'annoy'"):
        search(query, gallery, 3, backend="annoy")
    with pytest.raises(ValueError, match="k is 0"):
        search(query, gallery, 0)
    with pytest.raises(ValueError, match="relevance has 1 queries and 1 gallery entries, expected 12 and 150"):
        search(query, gallery, 3, relevance=Relevance([1], [1]))
