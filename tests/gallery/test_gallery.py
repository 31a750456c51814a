"""Searching a gallery."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from src.data import make_table
from src.gallery import Filters, Gallery, parse_time
from src.gallery.gallery_meta import BuiltIndex, GalleryMeta
from src.retrieval import Embeddings, Index, write_embeddings
from src.runtime.errors import ConfigError

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
    meta = GalleryMeta(time_unit=unit, index=BuiltIndex(index or "exact"))
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


NAMES = ["3008", "true", "1e5", "null", "nan", "007", "suv"]


def named(unit="", times=None):
    """Images whose types YAML would read as something else; cameras from 0 on."""
    count = len(NAMES)
    times = range(count) if times is None else times
    columns = {"path": [f"{i}.jpg" for i in range(count)], "split": "gallery", "type": NAMES, "colour": NAMES[::-1]}
    table = make_table("/cars", "cars", columns | {"camera_id": range(count), "timestamp": [float(t) for t in times]})
    features = F.normalize(torch.randn(count, 6))
    return Embeddings(features, np.arange(count), table, None, GalleryMeta(time_unit=unit))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((name, name) for name in NAMES),
        (3008, "3008"),
        (True, "true"),
        (1e5, "1e5"),
        (100000, "1e5"),
        (None, "null"),
        (float("nan"), "nan"),
    ],
)
def test_names_that_yaml_reads_as_something_else(tmp_path, value, name):
    write_embeddings(tmp_path, named())
    gallery = Gallery.open(tmp_path)
    assert gallery.table["type"].tolist() == NAMES
    for column, filters in (("type", Filters(type=[value])), ("colour", Filters(colour=[value]))):
        (hits,) = gallery.search(gallery.features[:1], 10, filters)
        assert [gallery.table.loc[hit.row, column] for hit in hits] == [name]


@pytest.mark.parametrize(("value", "camera"), [("03", 3), ("3", 3), (3, 3), (3.0, 3), ("0", 0)])
def test_cameras_as_they_are_written(value, camera):
    assert np.flatnonzero(Filters(camera=[value]).keep(named().table)).tolist() == [camera]


@pytest.mark.parametrize("value", [True, False, None, "north", "3.5", 3.5, float("nan"), -1])
def test_what_is_no_camera_is_refused(value):
    with pytest.raises(ValueError, match=r"camera is .*, but the gallery has 0, 1, 2, 3, 4, 5, 6"):
        Filters(camera=[value]).keep(named().table)


def test_a_name_that_is_only_like_the_number_is_another():
    table = named().table.replace("3008", "van")
    with pytest.raises(ValueError, match="type is 3008, but the gallery has 007, 1e5"):
        Filters(type=[3008]).keep(table)


def test_a_folder_of_numeric_names_comes_back_as_text(tmp_path):
    """Of a column in which every name is a number, pandas would make numbers."""
    embeddings, texts = named(), ["3008", "0123", "17", "1_2"]
    embeddings.table[["type", "colour", "root", "path"]] = texts
    write_embeddings(tmp_path, embeddings)
    table = Gallery.open(tmp_path).table
    assert table[["type", "colour", "root", "path"]].drop_duplicates().to_numpy().tolist() == [texts]
    assert Filters(type=[3008], colour=["0123"]).keep(table).all()


def test_a_picture_that_is_there_passes_the_largest_threshold():
    gallery = Gallery(made_up())
    nearly = gallery.features[:5] + np.float32(2e-7)
    found = gallery.search(nearly, 3, threshold=1.0)
    assert [[hit.row for hit in hits] for hits in found] == [[0], [1], [2], [3], [4]]


@pytest.mark.parametrize("unit", ["", "unix"])
def test_a_date_without_dashes_is_a_date(unit):
    first, day = 1764201600, 86400  # 2025-11-27
    gallery = Gallery(named(unit, times=range(first - 3 * day, first + 4 * day, day)))
    for text in (20251127, "20251127", "2025-11-27", "202511270000", 20251127000000):
        assert gallery.parse_time(text) == first
    assert gallery.parse_time("202511271730") == gallery.parse_time("2025-11-27T17:30") == first + 17.5 * 3600
    assert gallery.parse_time(first) == first
    with pytest.raises(ValueError, match="20251327 is no time"):
        gallery.parse_time(20251327)


def test_of_frames_every_number_is_a_number():
    gallery = Gallery(named("frames"))
    assert gallery.parse_time(20251127) == 20251127
    with pytest.raises(ValueError, match="2025-11-27 is a date, but the gallery counts time in frames, from 0 to 6"):
        gallery.parse_time("2025-11-27")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"index=.*nowhere is no folder; pass what src\.index has written"):
        Gallery.open(tmp_path / "nowhere")


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
    part = Embeddings(embeddings.features[:4], np.array([3, 5, 8, 9]), embeddings.table)
    assert Gallery(part).table["path"].tolist() == ["3.jpg", "5.jpg", "8.jpg", "9.jpg"]


def test_times_are_numbers_or_dates():
    assert parse_time(12) == parse_time("12") == 12.0
    expected = pd.Timestamp("2026-11-21T16:30Z").timestamp()
    assert parse_time("2026-11-21T16:30") == parse_time("2026-11-21 17:30:00+01:00") == expected
    with pytest.raises(ValueError, match="'noon' is no time"):
        parse_time("noon")
    for wrong in (True, None, "nan", float("inf")):
        with pytest.raises(ValueError, match="is no time"):
            parse_time(wrong)
