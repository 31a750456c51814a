"""Galleries that change: against a plain list of images, and a gallery built anew."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from pymilvus import MilvusClient

from src.gallery import Filters, Gallery, folding, versions
from src.gallery.gallery_changes import Changes
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.links import read_links, write_links
from src.gallery.loading import Growing
from src.gallery.milvus import LITE, Milvus
from src.gallery.reembedding import reembed
from src.gallery.versions import writing
from src.retrieval import read_embeddings, read_meta
from src.runtime.errors import ConfigError
from tests.gallery.made_up import DIMENSIONS, THOROUGH, embedder, feature, make, paths, table
from tests.near_ties import assert_same_lists

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:ivf_.* learns from", "ignore:pkg_resources")


def named(numbers):
    """Chooses these images."""
    wanted = {f"{number}.jpg" for number in numbers}
    return lambda records: records["path"].isin(wanted).to_numpy()


def found(gallery, query, top=10, filters=None):
    """Paths, and how far their scores are from 1, best first, of each query."""
    lists = gallery.search(query, top, filters)
    return (
        [[gallery.table.loc[hit.row, "path"] for hit in hits] for hits in lists],
        [[1 - hit.score for hit in hits] for hits in lists],
    )


def queries(count=5):
    values = np.random.default_rng().normal(size=(count, DIMENSIONS))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", THOROUGH)
def test_a_gallery_that_came_and_went_is_as_one_built_anew(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(folding, "_LEAST", 30)  # so that the index takes up what is new, now and then
    rng = np.random.default_rng()
    out, embeds = make(tmp_path, range(300), kind)
    there, free, open_gallery = dict.fromkeys(range(300)), 300, Gallery.open(out)
    number_of = dict(zip(paths(open_gallery), open_gallery.numbers, strict=True))
    for _ in range(6):
        if rng.random() < 0.5:
            new = [*range(free, free + int(rng.integers(1, 60)))]
            assert Changes(out).add(table([*new, *[*there][:3]]), embeds) == len(new)  # three are there already
            there |= dict.fromkeys(new)
            free = new[-1] + 1
        else:
            gone = rng.choice([*there], int(rng.integers(1, 60)), replace=False).tolist()
            assert Changes(out).delete(named(gone)) == len(gone)
            there = {number: None for number in there if number not in set(gone)}
        open_gallery = open_gallery.refreshed()
        assert paths(open_gallery) == [f"{number}.jpg" for number in there]
        number_of |= {
            path: n for path, n in zip(paths(open_gallery), open_gallery.numbers, strict=True) if path not in number_of
        }
        assert [number_of[path] for path in paths(open_gallery)] == open_gallery.numbers.tolist()
        query = queries()
        for gallery in (open_gallery, Gallery.open(out)):
            np.testing.assert_array_equal(gallery.features, [feature(path, "one") for path in paths(gallery)])
            if kind == "ivf_pq":  # scores of its own: those of all, one by one
                exact = np.sort(-(query @ gallery.features.T), axis=1)[:, :10]
                scores = [[-hit.score for hit in hits] for hits in gallery.search(query, 10)]
                assert abs(np.array(scores) - exact).max() < 0.1
                continue
            (tmp_path / f"new{free}").mkdir(exist_ok=True)
            anew, _ = make(tmp_path / f"new{free}", there, kind)
            assert_same_lists(found(gallery, query), found(Gallery.open(anew), query))
            some = Filters(camera=[2])
            assert_same_lists(found(gallery, query, 5, some), found(Gallery.open(anew), query, 5, some))
    assert len(open_gallery.meta.parts) < 12
    np.testing.assert_array_equal(read_embeddings(out).features, open_gallery.features)


def test_only_what_is_new_is_read_and_copied(tmp_path):
    out, embeds = make(tmp_path, range(50))
    first = Gallery.open(out)
    Changes(out).add(table(range(50, 60)), embeds)
    second = first.refreshed()  # which made room
    place = second.features.ctypes.data
    for start in (60, 63):
        Changes(out).add(table(range(start, start + 3)), embeds)
        second, before = second.refreshed(), second.features.copy()
        assert second.features.ctypes.data == place
        np.testing.assert_array_equal(second.features[: len(before)], before)
    assert second.refreshed() is second
    assert len(embeds.seen) == 66
    growing = Growing(torch.zeros(2, 3))
    one, other = growing.extended(2, torch.ones(1, 3)), growing.extended(2, torch.full((1, 3), 5.0))
    assert (one[2, 0], other[2, 0]) == (1, 5)  # two continuations of the same do not share their ends


def test_numbers_are_never_given_twice(tmp_path):
    out, embeds = make(tmp_path, range(10))
    Changes(out).delete(named([8, 9]))
    Changes(out).fold()
    Changes(out).add(table([9]), embeds)
    gallery = Gallery.open(out)
    assert gallery.numbers.tolist() == [*range(8), 10]
    assert gallery.row_of(10) == 8
    with pytest.raises(ValueError, match="The image 9 was deleted"):
        gallery.row_of(9)
    with pytest.raises(ValueError, match="There is no image 11, the last is 10"):
        gallery.row_of(11)


def test_all_may_go_and_others_come(tmp_path):
    out, embeds = make(tmp_path, range(10), "hnsw")
    gallery = Gallery.open(out)
    assert Changes(out).delete(lambda records: np.ones(len(records), dtype=bool)) == 10
    gallery = gallery.refreshed()
    assert gallery.search(queries(2), 3) == [[], []]
    assert gallery.features.shape == (0, DIMENSIONS)
    Changes(out).add(table([20, 21]), embeds)
    assert paths(gallery.refreshed()) == paths(Gallery.open(out)) == ["20.jpg", "21.jpg"]


def test_what_is_deleted_leaves_the_disk(tmp_path):
    out, _ = make(tmp_path, range(100))

    def on_disk():
        return sum(file.read_bytes().count(feature("7.jpg", "one").tobytes()) for file in out.rglob("*.safetensors"))

    Changes(out).delete(named([7]))
    assert on_disk() == 1
    Changes(out).fold()
    assert on_disk() == 0
    assert Changes(out).delete(named(range(10, 40))) == 30  # more than a quarter: by itself
    assert read_embeddings(out).features.shape == (69, DIMENSIONS)
    assert len(read_meta(out, GalleryMeta).parts) == 1


@pytest.mark.slow
def test_a_process_killed_at_any_write_leaves_it_as_before_or_as_after(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = [sys.executable, "-m", "tests.gallery.killed_changes", str(tmp_path)]
    done = subprocess.run(child, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_writers_wait_for_each_other_and_not_for_ever(tmp_path, monkeypatch):
    out, embeds = make(tmp_path, range(10))
    problems = []

    def add(start):
        try:
            for number in range(start, start + 5):
                Changes(out).add(table([number]), embeds)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=add, args=(start,)) for start in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert sorted(paths(Gallery.open(out))) == sorted(
        f"{n}.jpg" for n in (*range(10), *range(100, 105), *range(200, 205))
    )
    monkeypatch.setattr(versions, "PATIENCE", 0.1)
    with writing(out), pytest.raises(ConfigError, match="is being written by another process, still after 0 s"):
        Changes(out).add(table([300]), embeds)


def test_milvus_follows(tmp_path):
    out = tmp_path / "gallery"
    out.mkdir()
    milvus = Milvus(str(out / LITE))
    out, embeds = make(tmp_path, range(40), milvus=milvus)
    gallery = Gallery.open(out)
    changes = Changes(out, milvus)
    changes.add(table(range(40, 60)), embeds)
    changes.delete(named([3, 45]))
    gallery = gallery.refreshed()
    query, collection = queries(), gallery.meta.milvus.collection

    def assert_same():
        folder = Gallery.open(out, "folder")
        assert_same_lists(found(gallery, query, 12), found(folder, query, 12))
        some = Filters(camera=[1])
        assert_same_lists(found(gallery, query, 5, some), found(folder, query, 5, some))
        client = MilvusClient(str(out / LITE))
        numbers = [hit["id"] for hit in client.query(collection, filter="id >= 0", output_fields=["id"])]
        return sorted(numbers) == gallery.numbers.tolist()

    assert assert_same()
    # Killed around the folder's switch, it has more. Searches leave that out, and the next change mends it.
    near = table([70])
    milvus._upsert(collection, query[:1], near, np.array([60]))
    assert not assert_same()
    changes.add(table([71]), embeds)
    gallery = gallery.refreshed()
    assert assert_same()
    changes.delete(named([71, 5]))
    changes.fold()
    gallery = gallery.refreshed()
    assert assert_same()
    with pytest.raises(ConfigError, match="is searched in Milvus, which has to be changed too"):
        Changes(out)
    reembed(out, embedder(tmp_path, "two"), milvus)
    gallery = Gallery.open(out)
    assert gallery.meta.milvus.collection != collection
    collection = gallery.meta.milvus.collection
    assert assert_same()
    assert MilvusClient(str(out / LITE)).list_collections() == [collection]


def test_links_of_tracks_that_are_gone_go_too(tmp_path):
    out, embeds = tmp_path / "gallery", embedder(tmp_path)
    make(tmp_path, [50])
    changes = Changes(out)
    changes.add(table(range(4), track_id=[1, 1, 2, 3]), embeds)
    write_links(out, {1: 1, 2: 1, 3: 2})
    (out / "trips.csv").write_text("global_id,track_id,since\n1,1,\n1,2,3.5\n")
    gallery = Gallery.open(out)
    changes.delete(named([0, 2]))
    assert gallery.links == {1: 1, 2: 1, 3: 2}
    assert gallery.refreshed().links == read_links(out) == {1: 1, 3: 2}
    assert (out / "trips.csv").read_text() == "global_id,track_id,since\n1,1,\n"
    with pytest.raises(ConfigError, match="Track 3 of /elsewhere has the number of a track of /cars"):
        changes.add(table([9], root="/elsewhere", track_id=[3]), embeds)
    changes.add(table([9], track_id=[3]), embeds)  # the track goes on
    write_links(out, {1: 5})
    assert gallery.refreshed().links == {1: 5}  # src.link ran meanwhile


def test_embedded_anew_beside_the_old_ones(tmp_path, monkeypatch):
    out, embeds = make(tmp_path, range(30), "ivf_flat")
    Changes(out).delete(named([3]))
    gallery, other = Gallery.open(out), embedder(tmp_path, "two")
    batches, calls = type(other).batches, []

    def meanwhile(self, paths, domains, boxes):
        calls.append(len(paths))
        if len(calls) == 1:  # the old gallery is there, and grows
            assert Changes(out).add(table([40, 41]), embeds) == 2
            nearest = found(gallery.refreshed(), feature("40.jpg", "one")[None], 1)
            assert nearest == ([["40.jpg"]], [[pytest.approx(0, abs=1e-5)]])
            with pytest.raises(ConfigError, match="is being written by another process, still after 0 s"):
                reembed(out, other)
        yield from batches(self, paths, domains, boxes)

    with monkeypatch.context() as patched:
        patched.setattr(type(other), "batches", meanwhile)
        reembed(out, other)
    after = gallery.refreshed()
    assert calls[1:] == [2, 2]  # by the old checkpoint, then by the new one
    assert paths(after) == [f"{n}.jpg" for n in (*range(3), *range(4, 30), 40, 41)]
    assert after.numbers.tolist() == [*range(3), *range(4, 30), 30, 31]
    np.testing.assert_array_equal(after.features, [feature(path, "two") for path in paths(after)])
    assert after.meta.index.kind == "ivf_flat"
    assert found(after, after.features[:1], 1) == ([["0.jpg"]], [[pytest.approx(0, abs=1e-5)]])
    assert not (out / "shards").exists()
    with pytest.raises(ConfigError, match=r"is embedded by .*two already"):
        reembed(out, other)
    with pytest.raises(ConfigError, match=r"is embedded by checkpoint .*, and .*one is another"):
        Changes(out).add(table([50]), embeds)


def test_what_is_no_gallery_is_not_changed(tmp_path):
    with pytest.raises(ConfigError, match="is no gallery yet; build it first"):
        Changes(tmp_path)
