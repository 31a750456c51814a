"""A gallery that grows while it is searched."""

import asyncio
import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from src.gallery import Gallery, build
from src.gallery.gallery_meta import BuiltIndex
from src.gallery.links import read_links, write_links
from src.gallery.living import LivingGallery
from src.gallery.query import matching_embedder
from src.gallery.videos import gallery_videos, video_at
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

    async def look():
        task = asyncio.create_task(living.watch())
        while len(living.gallery) == 4:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(look(), 60))
    paths = [f"{n}.jpg" for n in (4, 5, 6, 7, 0, 1, 8)]
    assert living.gallery.table["path"].tolist() == paths
    images = [table.parent / path for path in paths]
    assert abs(living.gallery.features - embedder(images)).max() < 1e-5
    assert living.gallery.meta.time_unit == "unix"
    assert len(Gallery.open(out)) == 7  # it is kept


def test_a_table_that_is_wrong_for_a_moment_changes_nothing(opened, crops, caplog):
    gallery, embedder, out, table = opened
    living = LivingGallery(gallery, out, embedder, table, 0.01)
    table.write_text("path,colour\nhalf a")

    async def look():
        task = asyncio.create_task(living.watch())
        while "stays as it is" not in caplog.text:
            await asyncio.sleep(0.01)
        crops(0, 1, 4, 5, 6, 7)
        while len(living.gallery) == 4:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(look(), 60))
    assert len(living.gallery) == 6


def test_an_index_that_misses_some_cannot_grow(opened):
    gallery, embedder, out, table = opened
    gallery.meta = replace(gallery.meta, index=BuiltIndex("hnsw"))
    with pytest.raises(ConfigError, match="this one has hnsw; index it anew"):
        LivingGallery(gallery, out, embedder, table, 1)


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
