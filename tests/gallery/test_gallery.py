"""Searching a gallery."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from src.data import make_table
from src.gallery import Filters, Gallery, parse_time
from src.retrieval import Embeddings, Index, write_embeddings

N = 60


def made_up(unit="", index=None):
    rng = np.random.default_rng(1)
    columns = {
        "path": [f"{i}.jpg" for i in range(N)],
        "split": "gallery",
        "camera_id": [*rng.integers(1, 4, N - 10), *[-1] * 10],
        "timestamp": [*rng.uniform(0, 100, N - 5), *[float("nan")] * 5],
        "domain": rng.choice(["day", "night", ""], N),
        "colour": rng.choice(["red", "white", ""], N),
        "type": rng.choice(["suv", "van"], N),
    }
    features = F.normalize(torch.randn(N, 6))
    meta = {"time_unit": unit, "index": {"kind": index or "exact", "options": {}}}
    return Embeddings(features, np.arange(N), make_table("/cars", "cars", columns), None, meta)


FILTERS = [
    Filters(),
    Filters(camera=[2]),
    Filters(camera=[1, 3], domain=["night"]),
    Filters(colour=["red"], type=["van"]),
    Filters(after=20, before=60.5),
    Filters(camera=[1], before=30, domain=["day"]),
]


def passes(record, filters):
    for wanted, value in (
        (filters.camera, record.camera_id),
        (filters.domain, record.domain),
        (filters.colour, record.colour),
        (filters.type, record.type),
    ):
        if wanted and value not in wanted:
            return False
    if filters.after is not None and not record.timestamp >= filters.after:
        return False
    return filters.before is None or record.timestamp <= filters.before


@pytest.mark.parametrize("filters", FILTERS, ids=range(len(FILTERS)))
@pytest.mark.parametrize("kind", ["exact", "torch", "hnsw"])
def test_filtered_lists_are_those_of_a_loop(filters, kind):
    embeddings = made_up(index=kind)
    index = Index.build(embeddings.features, kind, ef_search=2) if kind == "hnsw" else None
    query = F.normalize(torch.randn(3, 6)).numpy()
    found = Gallery(embeddings, index).search(query, 5, filters, threshold=-0.2)
    for q, hits in zip(query.astype(np.float64), found, strict=True):
        scores = [
            (float(q @ embeddings.features[row].double().numpy()), row)
            for row, record in enumerate(embeddings.table.itertuples())
            if passes(record, filters)
        ]
        expected = [pair for pair in sorted(scores, reverse=True)[:5] if pair[0] >= -0.2]
        if kind == "hnsw" and not filters.active:  # which may miss some
            assert {hit.row for hit in hits} <= set(range(N))
            continue
        assert [hit.row for hit in hits] == [row for _, row in expected]
        np.testing.assert_allclose([hit.score for hit in hits], [score for score, _ in expected], atol=1e-5)


def test_nothing_may_pass():
    gallery = Gallery(made_up())
    assert gallery.search(gallery.features[:2], 5, Filters(after=1e9)) == [[], []]
    assert gallery.search(gallery.features[:1], 5, threshold=1.1) == [[]]


def test_wrong_searches_are_refused():
    gallery = Gallery(made_up())
    with pytest.raises(ValueError, match="camera is 7, but the gallery has 1, 2, 3"):
        gallery.search(gallery.features[:1], 5, Filters(camera=[7]))
    with pytest.raises(ValueError, match="colour is 'purple', but the gallery has red, white"):
        Filters(colour=["purple"]).keep(gallery.table)
    with pytest.raises(ValueError, match="6"):
        gallery.search(np.ones((1, 5), dtype=np.float32), 5)


def test_what_is_known_of_an_image():
    gallery = Gallery(made_up("s"))
    first, last = gallery.describe(0), gallery.describe(N - 1)
    record = gallery.table.loc[0]
    assert first["path"] == "/cars/0.jpg"
    assert (first["camera"], first["timestamp"]) == (record.camera_id, record.timestamp)
    assert first["time"] == f"{record.timestamp:,.15g} s"
    assert first["vehicle"] is None
    assert last["camera"] is last["timestamp"] is last["time"] is None
    assert Gallery(made_up("unix")).time_text(90061) == "1970-01-02 01:01:01"


def test_a_folder_is_opened_with_its_index(tmp_path):
    embeddings = made_up(index="hnsw")
    write_embeddings(tmp_path / "g", embeddings)
    Index.build(embeddings.features, "hnsw").save(tmp_path / "g/index")
    gallery = Gallery.open(tmp_path / "g")
    ((hit, *_),) = gallery.search(gallery.features[7:8], 3)
    assert (hit.row, round(hit.score, 6)) == (7, 1.0)


def test_rows_of_a_run_are_those_embedded(tmp_path):
    embeddings = made_up()
    part = Embeddings(embeddings.features[:4], np.array([3, 5, 8, 9]), embeddings.table, None, {})
    assert Gallery(part).table["path"].tolist() == ["3.jpg", "5.jpg", "8.jpg", "9.jpg"]


def test_times_are_numbers_or_dates():
    assert parse_time(12) == parse_time("12") == 12.0
    expected = pd.Timestamp("2026-11-21T16:30Z").timestamp()
    assert parse_time("2026-11-21T16:30") == parse_time("2026-11-21 17:30:00+01:00") == expected
    with pytest.raises(ValueError, match="'noon' is no time"):
        parse_time("noon")
