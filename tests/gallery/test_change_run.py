"""`src.index` on a gallery that is there, as the command line has it."""

import shutil
import time

import pandas as pd
import pytest

from src.gallery import Gallery, build, change_run
from src.runtime.errors import ConfigError


@pytest.fixture
def cars(quickstart, tmp_path):
    """Six images, one a day old each, of two cameras and tracks; returns the table's place."""
    folder = tmp_path / "cars"
    (folder / "late").mkdir(parents=True)
    names = ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "late/4.jpg", "late/5.jpg"]
    for name, image in zip(names, sorted((quickstart / "day").rglob("*.jpg")), strict=False):
        shutil.copy(image, folder / name)
    days = [5, 4, 3, 2, 1, None]
    times = [None if day is None else time.time() - day * 86_400 + 60 for day in days]
    columns = {"path": names, "camera_id": [1, 1, 2, 2, 2, 1], "track_id": [7, 7, 8, 8, 9, 9], "timestamp": times}
    pd.DataFrame(columns).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


@pytest.fixture
def index(composed, untrained, tmp_path, cars):
    """Runs src.index on a gallery of them; returns the paths that are there then."""
    checkpoint, out = untrained("method=bot", "transforms.size=32"), tmp_path / "gallery"

    def run(*overrides):
        cfg = composed(f"out={out}", "workers=1", *overrides, config="index")
        (change_run if change_run.changes_asked(cfg) else build).run(cfg)
        return Gallery.open(out).table["path"].tolist()

    run.checkpoint = checkpoint
    assert len(run(f"checkpoint={checkpoint}", f"images={cars}", "time_unit=unix")) == 6
    return run


ALL = ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "late/4.jpg", "late/5.jpg"]


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        (["delete.path=2.jpg"], [2]),
        (["delete.path=[late/*,0.jpg]"], [0, 4, 5]),
        (["delete.path='*/cars/?.jpg'"], [0, 1, 2, 3]),
        (["delete.camera=1"], [0, 1, 5]),
        (["delete.track=[8,9]", "delete.camera=2"], [2, 3, 4]),
        (["expire=60h"], [0, 1, 2]),
        (["expire=1w"], []),
        (["expire=2.5d", "delete.path=late/5.jpg", "compact=true"], [0, 1, 2, 5]),
    ],
)
def test_what_is_named_is_deleted(index, asked, gone):
    assert index(*asked) == [path for place, path in enumerate(ALL) if place not in gone]


def test_dates_add_and_the_whole_list_again(index, cars):
    table = pd.read_csv(cars)
    day = pd.to_datetime(table["timestamp"], unit="s")
    assert index(f"expire={day[1]:%Y-%m-%dT%H:%M:%S}") == ALL[1:]
    assert index(f"delete.after={day[3]:%Y-%m-%dT%H:%M}", f"delete.before={day[4]:%Y-%m-%dT%H:%M}") == [
        *ALL[1:3],
        *ALL[4:],
    ]
    assert index(f"add={cars}") == [*ALL[1:3], *ALL[4:], ALL[0], ALL[3]]  # asked for by name, they come back
    shutil.copy(cars.with_name("1.jpg"), cars.with_name("new.jpg"))
    new = pd.DataFrame({"path": ["new.jpg"], "camera_id": [3], "track_id": [10]})
    pd.concat([table, new]).to_csv(cars, index=False)
    assert index(f"add={cars}", "delete.camera=[1,2]") == ["new.jpg"]


def test_wrong_words_are_refused(index, cars, tmp_path):
    with pytest.raises(ConfigError, match="add changes the gallery that is there; leave images= and data= away"):
        index(f"add={cars}", f"images={cars}")
    with pytest.raises(ConfigError, match="reembed=true goes alone"):
        index("reembed=true", "expire=30d")
    with pytest.raises(ConfigError, match="reembed=true needs checkpoint="):
        index("reembed=true")
    with pytest.raises(ConfigError, match=r"is embedded by .*last\.ckpt already"):
        index("reembed=true", f"checkpoint={index.checkpoint}")
    with pytest.raises(ConfigError, match="is no gallery yet"):
        index("expire=30d", f"out={tmp_path / 'nowhere'}")
    with pytest.raises(ValueError, match="'30 days' is no time"):
        index("expire=30 days")
    with pytest.raises(ValueError, match="camera is 7, but the gallery has 1, 2"):
        index("delete.camera=7")
    with pytest.raises(ConfigError, match="Pass checkpoint="):
        index(f"images={cars}")
    with pytest.raises(ConfigError, match=r"add=.* is neither a folder nor a CSV"):
        index(f"add={tmp_path / 'nowhere'}")


def test_an_age_needs_a_calendar(index, cars, composed, tmp_path):
    out = tmp_path / "frames"
    build.run(composed(f"out={out}", f"checkpoint={index.checkpoint}", f"images={cars}", config="index"))
    with pytest.raises(ConfigError, match="expire=30d is an age, but the gallery does not count seconds since 1970"):
        index("expire=30d", f"out={out}")
