"""Search indexes against plain sorting, and what happens to their files."""

import json
import sys

import numpy as np
import pytest
import torch

from src.retrieval import Index, recall, search

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
KINDS = ["exact", "torch", "ivf_flat", "ivf_pq", "hnsw"]
METRICS = ["euclidean", "squared", "cosine", "angle"]
# Efforts at which nothing is missed.
THOROUGH = {"ivf_flat": {"n_lists": 4, "n_probes": 4}, "hnsw": {"ef_search": 400}}

pytestmark = pytest.mark.filterwarnings("ignore:ivf_.* learns from")


def features(seed, count=300, dimensions=12):
    values = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    values[40:44] = values[0]  # equal distances
    return values


def queries(seed, count=9, dimensions=12):
    return np.random.default_rng(100 + seed).normal(size=(count, dimensions)).astype(np.float32)


def reference(query, gallery, metric):
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if metric in ("euclidean", "squared"):
        squares = ((query[:, None] - gallery) ** 2).sum(axis=2)
        return squares if metric == "squared" else np.sqrt(squares)
    lengths = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(gallery, axis=1)
    cosines = np.array([[a @ b for b in gallery] for a in query]) / lengths
    return 1 - cosines if metric == "cosine" else np.arccos(cosines)


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("k", [1, 7, 300, 310])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["exact", "torch", "ivf_flat", "hnsw"])
def test_a_thorough_search_finds_what_a_stable_sort_finds(kind, metric, k):
    gallery, query = features(k), queries(k)
    expected = reference(query, gallery, metric)
    order = np.argsort(expected.round(10), axis=1, kind="stable")[:, :k]
    index = Index.build(gallery, kind, metric=metric, **THOROUGH.get(kind, {}))
    indices, distances = index.search(query, k)
    assert indices.shape == distances.shape == (9, k)
    np.testing.assert_array_equal(indices[:, :300], order)
    np.testing.assert_allclose(distances[:, :300], np.take_along_axis(expected, order, axis=1), rtol=1e-5, atol=1e-6)
    assert (indices[:, 300:] == -1).all()
    assert np.isinf(distances[:, 300:]).all()
    assert (len(index), index.dimension, index.kind) == (300, 12, kind)


@pytest.mark.parametrize("metric", METRICS)
def test_compressed_features_are_searched_at_nearly_the_right_distances(metric):
    gallery, query = features(1, count=700), queries(1)
    index = Index.build(gallery, "ivf_pq", metric=metric, n_lists=2, n_probes=2, pq_bytes=12)  # a byte a number
    indices, distances = index.search(query, 20)
    assert recall((indices, distances), search(query, gallery, 30, metric=metric)) > 0.9
    expected = np.take_along_axis(reference(query, gallery, metric), indices, axis=1)
    np.testing.assert_allclose(distances, expected, rtol=0.1)
    assert (np.diff(distances) >= 0).all()


def test_equal_features_come_in_order_of_their_numbers():
    gallery = features(2)
    for kind in ("exact", "torch", "ivf_flat", "hnsw"):
        indices, distances = Index.build(gallery, kind, **THOROUGH.get(kind, {})).search(gallery[:1], 5)
        assert indices.tolist() == [[0, 40, 41, 42, 43]]
        assert (distances == 0).all()


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_pq"])
def test_lists_end_where_the_probed_groups_end(kind):
    near, far = np.random.default_rng(3).normal(size=(2, 200, 4)).astype(np.float32)
    index = Index.build(np.concatenate([near, far + 100]), kind, n_lists=2, n_probes=1)
    indices, distances = index.search(near[:3], 250)
    for found, values in zip(indices, distances, strict=True):
        assert sorted(found[:200]) == list(range(200))
        assert (found[200:] == -1).all()
        assert np.isinf(values[200:]).all()


def test_more_effort_finds_more():
    gallery, query = features(4, count=3000, dimensions=24), queries(4, count=60, dimensions=24)
    exact = search(query, gallery, 20)
    for kind, option, efforts in (("ivf_flat", "n_probes", (1, 4, 54)), ("hnsw", "ef_search", (10, 60, 3000))):
        found = [recall(Index.build(gallery, kind, **{option: effort}).search(query, 10), exact) for effort in efforts]
        assert found == sorted(found)
        assert found[0] < 0.98
        assert found[-1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_gives_the_lists_of_its_float32_values(kind, dtype):
    gallery, query = torch.from_numpy(features(5)).to(dtype), torch.from_numpy(queries(5)).to(dtype)
    found = Index.build(gallery, kind).search(query, 6)
    assert_same(found, Index.build(gallery.float(), kind).search(query.float(), 6))


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_pq", "hnsw"])
def test_a_seed_makes_one_index(kind, tmp_path):
    gallery, extra, query = features(6), features(7), queries(6)

    def made(seed):
        index = Index.build(gallery, kind, seed=seed)
        index.extend(extra)
        index.save(tmp_path / str(seed))
        return next((tmp_path / str(seed)).glob("entries-*")).read_bytes(), index.search(query, 8)

    (first, found), (again, found_again), (other, _) = made(3), made(3), made(4)
    assert first == again
    assert first != other
    assert_same(found, found_again)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_index_searches_and_grows_like_the_one_that_was_saved(kind, tmp_path):
    gallery, extra, query = features(8), features(9, count=50), queries(8)
    index = Index.build(gallery, kind, metric="cosine", built_from={"checkpoint_sha": "1f", "data": {"name": "x"}})
    index.save(tmp_path / "deep" / "index")
    loaded = Index.load(tmp_path / "deep" / "index")
    assert (loaded.kind, loaded.metric, loaded.options) == (kind, "cosine", index.options)
    assert loaded.built_from == {"checkpoint_sha": "1f", "data": {"name": "x"}}
    assert_same(loaded.search(query, 6), index.search(query, 6))
    for one in (index, loaded):
        one.extend(extra)
    assert len(loaded) == 350
    assert_same(loaded.search(query, 6), index.search(query, 6))
    indices, _ = loaded.search(extra[45:], 1)
    assert kind == "ivf_pq" or indices[:, 0].tolist() == list(range(345, 350))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_features_and_queries_may_lie_anywhere(kind, device, tmp_path):
    gallery, query = torch.from_numpy(features(20)), torch.from_numpy(queries(20))
    expected = Index.build(gallery, kind).search(query, 6)
    index = Index.build(gallery.to(device), kind)
    index.save(tmp_path)
    for one in (index, Index.load(tmp_path, device=device)):
        for place in DEVICES:
            indices, distances = one.search(query.to(place), 6)
            np.testing.assert_array_equal(indices, expected[0])
            np.testing.assert_allclose(distances, expected[1], rtol=1e-5)


def test_extending_gives_the_lists_of_all_at_once():
    gallery, query = features(10), queries(10)
    for kind in ("exact", "torch", "ivf_flat", "hnsw"):
        index = Index.build(gallery[:200], kind, **THOROUGH.get(kind, {}))
        index.extend(gallery[200:])
        assert_same(index.search(query, 9), search(query, gallery, 9))


def test_options_of_searching_may_change_when_loading(tmp_path):
    gallery, query = features(11), queries(11)
    Index.build(gallery, "ivf_flat", n_lists=7, n_probes=1).save(tmp_path)
    loaded = Index.load(tmp_path, n_probes=7)
    assert loaded.options == {"n_lists": 7, "n_probes": 7, "seed": 0}
    assert_same(loaded.search(query, 9), search(query, gallery, 9))
    with pytest.raises(ValueError, match="has no option n_lists, expected n_probes"):
        Index.load(tmp_path, n_lists=8)
    with pytest.raises(ValueError, match="n_probes is 0, expected an integer of at least 1"):
        Index.load(tmp_path, n_probes=0)


def test_numbers_are_chosen_that_fit():
    assert Index.build(features(12, count=400), "ivf_flat").options["n_lists"] == 400 // 39
    assert Index.build(features(12, count=2500, dimensions=4), "ivf_flat").options["n_lists"] == 50
    assert Index.build(features(12, count=44), "ivf_flat").options["n_lists"] == 1
    assert Index.build(features(12, dimensions=192), "ivf_pq").options["pq_bytes"] == 64
    assert Index.build(features(12, dimensions=15), "ivf_pq").options["pq_bytes"] == 15


def test_too_few_features_are_refused_or_warned_about(capfd):
    with pytest.raises(ValueError, match="ivf_flat learns 50 lists and 1 codes from the features, which are only 44"):
        Index.build(features(13, count=44), "ivf_flat", n_lists=50)
    with pytest.raises(ValueError, match="ivf_pq learns 6 lists and 256 codes from the features, which are only 255"):
        Index.build(features(13, count=255), "ivf_pq")
    with pytest.warns(UserWarning, match="ivf_flat with 30 lists learns from 300 features, FAISS advises 1170 or more"):
        Index.build(features(13), "ivf_flat", n_lists=30)
    with pytest.warns(UserWarning, match="FAISS advises 9984"):
        Index.build(features(13), "ivf_pq")
    Index.build(features(13), "ivf_flat")
    assert "WARNING" not in "".join(capfd.readouterr())  # FAISS's own


def test_wrong_arguments_are_refused():
    gallery = features(14)
    with pytest.raises(ValueError, match="kind is 'annoy', expected one of exact, torch, ivf_flat, ivf_pq, hnsw"):
        Index.build(gallery, "annoy")
    with pytest.raises(ValueError, match="metric is 'manhattan'"):
        Index.build(gallery, metric="manhattan")
    with pytest.raises(ValueError, match="An index of kind 'hnsw' has no option n_probes, expected m or ef_con"):
        Index.build(gallery, "hnsw", n_probes=3)
    with pytest.raises(ValueError, match="An index of kind 'torch' has no option m, expected none"):
        Index.build(gallery, "torch", m=3)
    for wrong in (0, None):
        with pytest.raises(ValueError, match=f"m is {wrong}, expected an integer of at least 1"):
            Index.build(gallery, "hnsw", m=wrong)
    with pytest.raises(ValueError, match="pq_bytes is 5, expected a divisor of the 12 dimensions: 1, 2, 3, 4, 6, 12"):
        Index.build(gallery, "ivf_pq", pq_bytes=5)
    with pytest.raises(TypeError, match="not JSON serializable"):
        Index.build(gallery, built_from={"data": object()})
    gallery[3, 2] = np.nan
    with pytest.raises(ValueError, match="features row 3 is not finite"):
        Index.build(gallery, "hnsw")


@pytest.mark.parametrize("kind", KINDS)
def test_searches_and_extensions_that_do_not_fit_are_refused(kind):
    index = Index.build(features(15), kind, built_from={"checkpoint": "a.ckpt"})
    with pytest.raises(ValueError, match="k is 0, expected at least 1"):
        index.search(queries(15), 0)
    with pytest.raises(ValueError, match=r"query has 5 dimensions and the index 12: .* built from .*a\.ckpt"):
        index.search(queries(15, dimensions=5), 3)
    with pytest.raises(ValueError, match="features has 5 dimensions and the index 12"):
        index.extend(queries(15, dimensions=5))
    with pytest.raises(ValueError, match="query row 0 is not finite"):
        index.search(queries(15) + np.inf, 3)
    assert index.search(queries(15)[:0], 3)[0].shape == (0, 3)


def test_missing_damaged_and_mixed_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no whole index, index\.json is missing"):
        Index.load(tmp_path)
    for kind in KINDS:
        folder = tmp_path / kind
        Index.build(features(16), kind).save(folder)
        entries, description = next(folder.glob("entries-*")), folder / "index.json"
        whole, meta = entries.read_bytes(), json.loads(description.read_text())
        entries.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"{entries.name} cannot be read .*: build the index again"):
            Index.load(folder)
        entries.write_bytes(whole)
        for name, wrong in (("count", 299), ("dimension", 13)):
            description.write_text(json.dumps(meta | {name: wrong}))
            with pytest.raises(ValueError, match=rf"{entries.name} holds 300 entries of 12 dimensions, expected"):
                Index.load(folder)
        description.write_text(json.dumps(meta))
        entries.unlink()
        with pytest.raises(FileNotFoundError, match=rf"{entries.name} is missing, which .*index\.json names"):
            Index.load(folder)
        description.write_text("{")
        with pytest.raises(ValueError, match=r"index\.json is no JSON"):
            Index.load(folder)
        for other in (
            "[]",
            json.dumps(meta | {"kind": "annoy"}),
            json.dumps(meta | {"schema": 2}),
            json.dumps({"schema": 1}),
        ):
            description.write_text(other)
            with pytest.raises(ValueError, match=r"index\.json does not describe an index of schema 1"):
                Index.load(folder)


@pytest.mark.parametrize("kind", ["torch", "hnsw"])
def test_an_interrupted_save_leaves_the_old_index(kind, tmp_path, monkeypatch):
    query, old = queries(17), Index.build(features(17), kind)
    old.save(tmp_path)
    before = sorted(tmp_path.iterdir())

    def interrupt(*_):
        raise KeyboardInterrupt

    new = Index.build(features(18), kind)
    with monkeypatch.context() as patch:
        patch.setattr("src.retrieval.index.faiss_index.write_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            new.save(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert_same(Index.load(tmp_path).search(query, 4), old.search(query, 4))

    new.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert_same(Index.load(tmp_path).search(query, 4), new.search(query, 4))


def test_only_torch_does_without_faiss(monkeypatch, tmp_path):
    Index.build(features(19), "hnsw").save(tmp_path / "hnsw")
    Index.build(features(19), "exact").save(tmp_path / "exact")
    monkeypatch.setitem(sys.modules, "faiss", None)
    for kind in ("exact", "ivf_flat", "ivf_pq", "hnsw"):
        with pytest.raises(ModuleNotFoundError, match=rf"kind='{kind}' needs FAISS.* choose kind='torch'"):
            Index.build(features(19), kind)
    for kind in ("exact", "hnsw"):
        with pytest.raises(ModuleNotFoundError, match=f"kind='{kind}' needs FAISS"):
            Index.load(tmp_path / kind)
    index = Index.build(features(19), "torch")
    index.save(tmp_path / "torch")
    assert_same(Index.load(tmp_path / "torch").search(queries(19), 3), index.search(queries(19), 3))


def test_recall_counts_ties_at_the_end_and_no_more_than_there_are():
    exact = np.array([[4, 7, 2, 9], [1, 3, -1, -1]]), np.array([[0.1, 0.2, 0.2, 0.3], [0.5, 0.6, np.inf, np.inf]])
    nothing = np.zeros((2, 2))
    assert recall((np.array([[4, 7], [1, 3]]), nothing), exact) == 1
    assert recall((np.array([[4, 2], [3, 1]]), nothing), exact) == 1
    assert recall((np.array([[7, 2], [1, -1]]), nothing), exact) == 0.75  # 2 and 7 fill two places, though 4 is nearer
    assert recall((np.array([[4, 9], [1, 5]]), nothing), exact) == 0.5
    three = np.array([[9, 7, 4], [1, 5, 6]]), np.zeros((2, 3))
    assert recall(three, exact) == pytest.approx(3 / 5)  # the second query has two neighbours in all
    assert np.isnan(recall((np.empty((0, 2), int), np.empty((0, 2))), (np.empty((0, 2), int), np.empty((0, 2)))))
    with pytest.raises(ValueError, match="found has 2 lists of 3 and exact 2 of 2"):
        recall(three, (exact[0][:, :2], exact[1][:, :2]))
