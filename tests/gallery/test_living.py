"""A gallery that grows while it is searched."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from src.data import image_path
from src.embed import Embedder
from src.gallery import Gallery, build
from src.gallery.gallery_changes import Changes
from src.gallery.gallery_meta import BuiltIndex, GalleryMeta
from src.gallery.gallery_records import own_images
from src.gallery.links import read_links, write_links
from src.gallery.living import LivingGallery
from src.gallery.query import matching_embedder
from src.gallery.reembedding import reembed
from src.gallery.videos import gallery_videos, video_at
from src.retrieval import Index, read_meta
from src.retrieval.embeddings import write_meta
from src.runtime.errors import ConfigError

VIDEO = {"number": 2, "video": "/nowhere/b.mp4", "camera": 4, "start": "2026-11-21T01:00:00.000Z", "seconds": 30.0}


@pytest.fixture
def crops(quickstart, tmp_path):
    """A folder as src.crop writes it; returns a function that makes its table hold the first so many images."""
    folder = tmp_path / "crops"
    folder.mkdir()
    images = sorted((quickstart / "day").rglob("*.jpg"))[:9]
    for number, image in enumerate(images):
        shutil.copy(image, folder / f"{number}.jpg")
    (folder / "meta.json").write_text(json.dumps({"schema": 1, "time_unit": "unix", "videos": [VIDEO]}))

    def write(*numbers):
        rows = [(f"{n}.jpg", n // 2, 4, 1795222800 + n, "car", 0.5) for n in numbers]
        columns = ["path", "track_id", "camera_id", "timestamp", "type", "score"]
        pd.DataFrame(rows, columns=columns).to_csv(folder / "table.csv", index=False)
        return folder / "table.csv"

    return write


@pytest.fixture
def opened(crops, composed, untrained, tmp_path):
    """A gallery of the first four, and its embedder."""
    table = crops(4, 5, 6, 7)
    out = tmp_path / "index"
    build.run(
        composed(f"checkpoint={untrained('method=bot')}", f"images={table}", f"out={out}", "workers=1", config="index")
    )
    gallery = Gallery.open(out)
    return gallery, matching_embedder(gallery, None, "cpu"), out, table


def test_new_crops_are_taken_up_and_old_ones_keep_their_rows(opened, crops):
    gallery, embedder, out, table = opened
    assert gallery.meta.time_unit == "unix"
    assert gallery.describe(0)["time"] == "2026-11-21 01:00:04"
    living = LivingGallery(gallery, out, embedder, table, 0.01)
    crops(0, 1, 4, 5, 6, 7, 8)  # of another camera's video, before and after
    asyncio.run(asyncio.wait_for(watched(living, 7), 60))
    paths = [f"{n}.jpg" for n in (4, 5, 6, 7, 0, 1, 8)]
    assert living.gallery.table["path"].tolist() == paths
    assert living.gallery.numbers.tolist() == [*range(7)]
    images = [table.parent / path for path in paths]
    assert abs(living.gallery.features - embedder(images)).max() < 1e-5
    assert living.gallery.meta.time_unit == "unix"
    assert len(Gallery.open(out)) == 7  # it is kept


async def watched(living, count):
    """Watches the table until the gallery has so many images."""
    task = asyncio.create_task(living.watch())
    while len((await living.now())[0]) != count:
        await asyncio.sleep(0.01)
    task.cancel()


def test_what_leaves_the_table_leaves_and_what_was_deleted_does_not_come_back(opened, crops):
    gallery, embedder, out, table = opened
    living = LivingGallery(gallery, out, embedder, table, 0.01)
    Changes(out).add(own_images(Path(gallery.table["root"][0])).tail(1), embedder)  # 8.jpg, of no table
    Changes(out).delete(lambda records: (records["path"] == "5.jpg").to_numpy())
    crops(1, 5, 6, 8)
    living.take_up(table)
    after, _ = asyncio.run(living.now())
    assert after.table["path"].tolist() == ["6.jpg", "8.jpg", "1.jpg"]
    assert after.numbers.tolist() == [2, 4, 5]


def test_a_table_that_is_wrong_for_a_moment_changes_nothing(opened, crops, caplog):
    gallery, embedder, out, table = opened
    living = LivingGallery(gallery, out, embedder, table, 0.01)
    table.write_text("path,colour\nhalf a")

    async def look():
        task = asyncio.create_task(living.watch())
        while "stays as it is" not in caplog.text:
            await asyncio.sleep(0.01)
        task.cancel()
        assert len((await living.now())[0]) == 4
        crops(0, 1, 4, 5, 6, 7)
        await watched(living, 6)

    asyncio.run(asyncio.wait_for(look(), 60))


def test_an_index_that_misses_some_grows_too(opened, crops):
    gallery, embedder, out, table = opened
    features, paths = torch.from_numpy(gallery.features), gallery.table["path"].tolist()
    Index.build(features, "hnsw").save(out / "index-made")
    meta = read_meta(out, GalleryMeta)
    write_meta(out, replace(meta, index=BuiltIndex("hnsw", {}, "index-made")), None)
    living = LivingGallery(Gallery.open(out), out, embedder, table, 0.01)
    crops(0, 4, 5, 6, 7)
    asyncio.run(asyncio.wait_for(watched(living, 5), 60))
    after = living.gallery
    assert after.table["path"].tolist() == [*paths, "0.jpg"]
    assert [hits[0].row for hits in after.search(after.features, 1)] == [*range(5)]


def test_a_page_goes_on_with_the_checkpoint_of_a_gallery_that_was_embedded_anew(opened, tmp_path):
    gallery, embedder, out, _ = opened
    living = LivingGallery(gallery, out, embedder)
    other = tmp_path / "other.ckpt"
    content = torch.load(embedder.checkpoint, weights_only=True)
    for name, value in content["state_dict"].items():
        if value.is_floating_point():
            content["state_dict"][name] = value * 1.01
    torch.save(content, other)
    reembed(out, Embedder(other, device="cpu", workers=1))
    after, new = asyncio.run(living.now())
    assert new.checkpoint == other
    assert abs(after.features - gallery.features).max() > 1e-4
    images = [image_path(after.table, row) for row in range(4)]
    assert abs(after.features - new(images)).max() < 1e-5
    Changes(out).delete(lambda records: (records["path"] == "4.jpg").to_numpy())
    other.rename(tmp_path / "moved.ckpt")  # nobody needs it now
    assert len(asyncio.run(living.now())[0]) == 3


def test_the_second_of_a_video(tmp_path):
    file = tmp_path / "b.mp4"
    videos = [*gallery_videos([VIDEO | {"video": str(file)}]).values()]
    assert video_at(videos, 4, 1795222812.25) is None  # the file is gone
    file.touch()
    assert video_at(videos, 4, 1795222812.25) == (2, 12.25)
    assert video_at(videos, 3, 1795222812.25) is None
    assert video_at(videos, 4, 1795222900) is None
    assert video_at(videos, None, None) is None
    assert gallery_videos({}) == {}


def test_links_are_kept(tmp_path):
    assert read_links(tmp_path) == {}
    write_links(tmp_path, {3: 1, 1000002: 1})
    assert read_links(tmp_path) == {3: 1, 1000002: 1}
    (tmp_path / "links.csv").write_text("track_id,global_id\n1,x\n")
    with pytest.raises(ConfigError, match=r"links\.csv is damaged"):
        read_links(tmp_path)
