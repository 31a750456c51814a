"""Galleries in Milvus Lite, compared with the same galleries in a folder."""

import importlib.util
import socket
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from milvus_lite.server import Server
from torch.nn import functional as F

from src.data import make_table
from src.gallery import Filters, Gallery
from src.gallery.gallery_meta import Collection, GalleryMeta
from src.gallery.milvus import LITE, Milvus, collection_name, expression
from src.retrieval import Embeddings, write_embeddings
from src.runtime.errors import ConfigError

N = 200
COLOURS = ["red", "", 'off-"white"', "it's \\ grün"]
FILTERS = [
    Filters(),
    Filters(camera=[2]),
    Filters(camera=[1, 3], domain=["night"]),
    Filters(colour=['off-"white"', "it's \\ grün"], type=["van"]),
    Filters(after=20, before=60.5),
    Filters(before=1e16),
    Filters(camera=[1], before=-3.25, domain=["day"]),
    Filters(after=1e9),
]


@pytest.fixture(scope="module")
def galleries(tmp_path_factory):
    """A gallery as the folder searches it, and as Milvus does."""
    folder = tmp_path_factory.mktemp("gallery")
    rng = np.random.default_rng(2)
    columns = {
        "path": [f"{i}.jpg" for i in range(N)],
        "split": "gallery",
        "camera_id": [*rng.integers(1, 4, N - 10), *[-1] * 10],
        "timestamp": [*rng.uniform(-50, 100, N - 5), *[float("nan")] * 5],
        "domain": rng.choice(["day", "night", ""], N),
        "colour": rng.choice(COLOURS, N),
        "type": rng.choice(["suv", "van"], N),
    }
    features = F.normalize(torch.from_numpy(rng.normal(size=(N, 24)).astype(np.float32)))
    table = make_table("/cars", "cars", columns)
    meta = GalleryMeta(milvus=Collection(None, "cars"))
    write_embeddings(folder, Embeddings(features, np.arange(N), table, None, meta))
    Milvus(str(folder / LITE)).fill("cars", features.numpy(), table)
    return Gallery.open(folder, store="folder"), Gallery.open(folder)


@pytest.mark.parametrize("filters", FILTERS, ids=expression)
def test_milvus_finds_what_the_folder_finds(galleries, filters):
    folder, milvus = galleries
    query = F.normalize(torch.randn(3, 24)).numpy()
    for top, threshold in ((7, -1.0), (2 * N, -0.1)):
        expected = folder.search(query, top, filters, threshold)
        found = milvus.search(query, top, filters, threshold)
        assert [[hit.row for hit in hits] for hits in found] == [[hit.row for hit in hits] for hits in expected]
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose([hit.score for hit in mine], [hit.score for hit in theirs], atol=1e-6)
    assert any(found) == (filters != Filters(after=1e9))


def test_wrong_searches_are_refused(galleries):
    milvus = galleries[1]
    with pytest.raises(ValueError, match="camera is 7, but the gallery has 1, 2, 3"):
        milvus.search(milvus.features[:1], 5, Filters(camera=[7]))
    with pytest.raises(ValueError, match="top is 20,000, but Milvus gives at most 16,384"):
        milvus.search(milvus.features[:1], 20_000)
    meta = milvus.meta
    milvus.meta = replace(meta, milvus=Collection(None, "vans"))
    with pytest.raises(ConfigError, match=r"milvus\.db has no collection vans; open the gallery again"):
        milvus.search(milvus.features[:1], 5)
    milvus.meta = meta


def test_a_cut_off_try_is_replaced_and_a_whole_one_kept(galleries, tmp_path):
    gallery = galleries[0]
    milvus = Milvus(str(tmp_path / LITE))
    milvus.fill("cars", gallery.features[:50], gallery.table[:50])
    milvus.fill("cars", gallery.features, gallery.table)
    rows, scores = milvus.search("cars", gallery.features[150:151], 3, Filters())
    assert rows[0, 0] == 150
    assert scores[0, 0] == pytest.approx(1)
    milvus.fill("cars", -gallery.features, gallery.table)  # as many: taken for the same, whose name says what it holds
    assert (milvus.search("cars", gallery.features[150:151], 3, Filters())[0] == rows).all()
    milvus.drop("cars")
    milvus.drop("cars")


def test_a_server_by_its_address(galleries, tmp_path):
    gallery = galleries[0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(str(tmp_path / "served.db"), f"127.0.0.1:{port}")
    assert server.start()
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)  # it is still starting
        milvus = Milvus(f"http://127.0.0.1:{port}", token="user:password")
        milvus.fill("cars", gallery.features, gallery.table)
        rows, _ = milvus.search("cars", gallery.features[40:41], 4, Filters(type=["van"]))
    finally:
        server.stop()
    (expected,) = gallery.search(gallery.features[40:41], 4, Filters(type=["van"]))
    assert rows[0].tolist() == [hit.row for hit in expected]


def test_a_collection_is_named_after_what_it_holds(galleries):
    table, keys = galleries[0].table, np.arange(N)
    changed = table.assign(colour="blue")
    names = [
        collection_name(*said)
        for said in (
            (table, keys, keys, "a"),
            (table, keys + 1, keys, "a"),
            (table, keys, keys + 1, "a"),
            (changed, keys, keys, "a"),
            (table, keys, keys, "b"),
        )
    ]
    assert len(set(names)) == 5
    assert names[0] == collection_name(table.copy(), keys.copy(), keys, "a")


def test_what_is_missing_is_said(galleries, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"Milvus at http://127\.0\.0\.1:1 says: .*server unavailable"):
        Milvus("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"says: Open local milvus failed, dir: .* not exists"):
        Milvus(str(tmp_path / "nowhere" / LITE))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "milvus_lite" else find_spec(name))
    with pytest.raises(ConfigError, match=r"needs milvus_lite: pip install 'vehicle-reid\[milvus\]'"):
        Milvus(str(tmp_path / LITE))


def test_a_folder_that_is_not_in_milvus(galleries, tmp_path):
    gallery = galleries[0]
    features = torch.from_numpy(gallery.features)
    write_embeddings(tmp_path, Embeddings(features, np.arange(N), gallery.table))
    with pytest.raises(ConfigError, match=r"store is 'milvus', but .* can be searched in folder; src\.index store=mil"):
        Gallery.open(tmp_path, store="milvus")
    with pytest.raises(ConfigError, match="store is 'disk'"):
        Gallery.open(tmp_path, store="disk")
