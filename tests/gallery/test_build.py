"""Galleries: made, stopped, gone on with, changed."""

import json
import logging
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient
from safetensors.torch import load_file, save_file

from src.data import DataError
from src.embed import Embedder
from src.gallery import Gallery, build, change_run, embedding_images
from src.gallery.cameras import Camera
from src.gallery.gallery_meta import GalleryMeta
from src.retrieval import read_embeddings, read_meta
from src.runtime.errors import ConfigError


@pytest.fixture
def cars(quickstart, tmp_path):
    folder = tmp_path / "cars"
    folder.mkdir()
    for number, image in enumerate(sorted((quickstart / "day").rglob("*.jpg"))[:10]):
        shutil.copy(image, folder / f"{number}.jpg")
    return folder


@pytest.fixture
def index(composed, untrained, tmp_path, cars, monkeypatch):
    """Runs src.index over the ten cars, or over something else; returns the folder and how many images it embedded."""
    monkeypatch.setattr(embedding_images, "SHARD", 3)
    checkpoint = untrained("method=bot", "transforms.size=32")
    embedded = []
    batches = Embedder.batches

    def counted(self, images, *others):
        embedded.extend(images)
        return batches(self, images, *others)

    monkeypatch.setattr(Embedder, "batches", counted)

    def run(*overrides, images=cars, out="gallery"):
        chosen = [] if images is None else [f"images={images}"]
        base = (f"checkpoint={checkpoint}", f"out={tmp_path / out}", "batch_size=2", "workers=1")
        embedded.clear()
        build.run(composed(*base, *chosen, *overrides, config="index"))
        return tmp_path / out, len(embedded)

    run.checkpoint = checkpoint
    run.composed = partial(composed, config="index")
    return run


def test_a_folder_is_embedded_once(index, cars, caplog):
    folder, embedded = index()
    assert embedded == 10
    stored = read_embeddings(folder)
    assert stored.table["path"].tolist() == [f"{number}.jpg" for number in range(10)]
    np.testing.assert_allclose(
        stored.features.numpy(), Embedder(index.checkpoint)(sorted(cars.glob("*.jpg"))), atol=1e-5
    )
    assert stored.meta.checkpoint == str(index.checkpoint)
    assert not (folder / "shards").exists()
    assert not (folder / ".next").exists()
    again, embedded = index()
    assert embedded == 0
    assert (read_embeddings(again).features == stored.features).all()


def test_new_changed_and_vanished_images(index, cars, caplog):
    caplog.set_level(logging.INFO)
    folder, _ = index()
    before = read_embeddings(folder)
    (cars / "4.jpg").unlink()
    shutil.copy(cars / "1.jpg", cars / "11.jpg")
    shutil.copy(cars / "2.jpg", cars / "3.jpg")
    _, embedded = index()
    assert embedded == 2  # 11 and 3
    assert "1 images are gone and leave the index: 4.jpg" in caplog.text
    after = read_embeddings(folder)
    kept = [f"{i}.jpg" for i in (0, 1, 2, *range(5, 10))]
    assert after.table["path"].tolist() == [*kept, "11.jpg", "3.jpg"]  # what was there keeps its place
    np.testing.assert_array_equal(after.features[:8], before.features[[0, 1, 2, *range(5, 10)]])
    np.testing.assert_allclose(after.features[8:], before.features[[1, 2]], atol=1e-5)
    assert Gallery.open(folder).numbers.tolist() == [0, 1, 2, *range(5, 10), 10, 11]


def test_a_killed_run_goes_on(index, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    whole, _ = index(out="whole")
    embed_rows = embedding_images._embed_rows
    calls = []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed_rows(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(embedding_images, "_embed_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            index()
    with pytest.raises(FileNotFoundError, match="no whole embeddings folder"):
        read_embeddings(whole.parent / "gallery")
    folder, embedded = index()
    assert embedded == 4
    assert "6 of 10 images are embedded already" in caplog.text
    np.testing.assert_allclose(read_embeddings(folder).features, read_embeddings(whole).features, atol=1e-5)


def test_a_folder_of_before_there_were_versions_is_taken_over(index, cars):
    """Its files lie beside its record, which says nothing of parts and numbers."""
    folder, _ = index("kind=hnsw")
    meta = json.loads((folder / "meta.json").read_text())
    for file in (folder / meta["parts"][0]).iterdir():
        file.rename(folder / file.name)
    keys = load_file(folder / "keys.safetensors")
    save_file({"keys": keys["keys"]}, folder / "keys.safetensors")
    (folder / meta["index"].pop("folder")).rename(folder / "index")
    said = {name: value for name, value in meta.items() if name not in ("parts", "gone", "base", "next_number")}
    (folder / "meta.json").write_text(json.dumps(said))
    before = Gallery.open(folder)
    assert before.search(before.features, 1)[7][0].row == 7
    (cars / "10.jpg").write_bytes((cars / "1.jpg").read_bytes())
    change_run.run(index.composed(f"out={folder}", f"add={cars}", "delete.path=7.jpg"))
    after = Gallery.open(folder)
    assert after.table["path"].tolist() == [*(f"{i}.jpg" for i in range(10) if i != 7), "10.jpg"]
    np.testing.assert_array_equal(after.features[:9], np.delete(before.features, 7, axis=0))
    assert not (folder / "features.safetensors").exists()
    assert not (folder / "index").exists()
    assert index()[1] == 0 + 1  # 7.jpg is asked for again
    assert not [*folder.glob("index-*")]  # exact: the old graph must not stay


def test_a_csv_says_what_is_known(index, cars, tmp_path):
    (cars / "gallery.csv").write_text(
        "path,camera_id,timestamp,colour,type,domain,box\n1.jpg,3,10.5,red,suv,day,\n1.jpg,,,,,,0 0 20 20\n"
    )
    (tmp_path / "cameras.csv").write_text("camera_id,name,x,y\n3,North gate,1.5,2\n")
    folder, _ = index(f"cameras={tmp_path}/cameras.csv", "time_unit=s", "domain=night", images=cars / "gallery.csv")
    stored = read_embeddings(folder, GalleryMeta)
    assert stored.table["camera_id"].tolist() == [3, -1]
    assert stored.table["domain"].tolist() == ["day", "night"]
    assert stored.table["timestamp"].isna().tolist() == [False, True]
    assert stored.meta.cameras == {3: Camera("North gate", 1.5, 2.0)}
    assert not np.allclose(stored.features[0], stored.features[1], atol=1e-3)


def test_a_data_set_gives_its_gallery(index, quickstart_veri):
    folder, _ = index("data=quickstart_veri", "splits=[query]", images=None)
    stored = read_embeddings(folder)
    assert set(stored.table["split"]) == {"query"}
    assert stored.camera_distances.shape == (8, 8)
    assert Path(stored.table["root"].iloc[0]).is_absolute()
    with pytest.raises(ConfigError, match=r"no images of splits=\['test'\], but of gallery, query, train"):
        index("data=quickstart_veri", "splits=[test]", images=None)
    with pytest.raises(ConfigError, match="one of them"):
        index("data=quickstart_veri")


def test_damaged_images_are_left_out_and_named(index, cars, caplog):
    (cars / "5.jpg").write_bytes(b"no picture")
    folder, _ = index()
    assert "5.jpg is damaged or no picture" in caplog.text
    assert "1 images cannot be read" in caplog.text
    assert len(read_embeddings(folder).table) == 9
    shutil.copy(cars / "6.jpg", cars / "5.jpg")
    _, embedded = index()
    assert embedded == 1
    assert len(read_embeddings(folder).table) == 10
    for image in cars.glob("*.jpg"):
        image.write_bytes(b"")
    with pytest.raises(DataError, match="None of the 10 images can be read"):
        index(out="nothing")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_refused_and_their_images_named(index, cars, monkeypatch, value):
    embed_rows = embedding_images._embed_rows

    def wrong(embedder, table, rows, advance):
        found = embed_rows(embedder, table, rows, advance)
        found[-1][-1, 5] = value  # the last of three
        return found

    with monkeypatch.context() as patched:
        patched.setattr(embedding_images, "_embed_rows", wrong)
        with pytest.raises(
            DataError, match=r"embeddings of 1 of 3 images are not finite \(2\.jpg\): look at .*last\.ckpt"
        ):
            index()
    folder, embedded = index()
    assert embedded == 10  # nothing of it was kept
    (file,) = folder.glob("parts/*/features.safetensors")
    features = load_file(file)
    features["features"][4] = value
    save_file(features, file)  # an index of before
    (cars / "11.jpg").write_bytes((cars / "1.jpg").read_bytes())
    with pytest.raises(DataError, match=r"embeddings of 1 of 11 images are not finite \(4\.jpg\)"):
        index()


def test_too_few_images_are_said_before_the_work(index):
    with pytest.raises(ValueError, match=r"256 codes .* only 10: choose kind=exact, or kind=ivf_flat"):
        index("kind=ivf_pq")
    with pytest.raises(ValueError, match=r"learns 12 lists .* only 10: pass n_lists=10 or fewer, or choose kind=exact"):
        index("kind=ivf_flat", "options={n_lists: 12}")
    assert index("kind=ivf_flat", "options={n_lists: 3}")[1] == 10  # nothing was embedded before


def test_milvus_has_the_latest_version_and_no_other(index, cars):
    folder, _ = index("store=milvus")
    assert index("store=milvus")[1] == 0
    (cars / "4.jpg").unlink()
    assert index("store=milvus")[1] == 0
    gallery = Gallery.open(folder)
    found = gallery.search(gallery.features, 9)
    assert [hits[0].row for hits in found] == list(range(9))
    assert MilvusClient(str(folder / "milvus.db")).list_collections() == [gallery.meta.milvus.collection]
    index()
    assert read_meta(folder, GalleryMeta).milvus is None
    with pytest.raises(ConfigError, match="store=milvus compares with all images; leave kind=hnsw away"):
        index("store=milvus", "kind=hnsw")
    with pytest.raises(ConfigError, match="store is 'disk', expected folder or milvus"):
        index("store=disk")


def test_a_folder_of_something_else_is_refused(index, cars, tmp_path):
    folder, _ = index()
    with pytest.raises(ConfigError, match=r"of checkpoint .*, 32-true, not of .*, bf16-mixed; pass reembed=true"):
        index("precision=bf16-mixed")
    (keys,) = folder.glob("parts/*/keys.safetensors")
    keys.unlink()
    with pytest.raises(ConfigError, match=r"src\.index has not made"):
        index()
    with pytest.raises(ConfigError, match="kind is 'tree', expected one of exact"):
        index("kind=tree")
    with pytest.raises(ValueError, match="no option m, expected"):
        index("kind=ivf_flat", "options={m: 8}")
    with pytest.raises(ConfigError, match="neither a folder nor a CSV"):
        index(images=tmp_path / "nowhere")
    (tmp_path / "cameras.csv").write_text("camera_id,name\n3,North gate\n")
    with pytest.raises(ConfigError, match=r"cameras\.csv"):
        index(f"cameras={tmp_path}/cameras.csv", out="other")


def test_a_gallery_says_what_computed_it(index, cars, monkeypatch):
    folder, _ = index("engine=torch")
    assert read_embeddings(folder).meta.engine == "torch"
    monkeypatch.setattr(Embedder, "engine", "openvino 1")
    index()  # nothing is new
    assert read_embeddings(folder).meta.engine == "torch"
    shutil.copy(cars / "1.jpg", cars / "11.jpg")
    index()
    assert read_embeddings(folder).meta.engine == "torch + openvino 1"
