"""Which videos: one on the command line, many in a file."""

import numpy as np
import pytest

from src.runtime.errors import ConfigError
from src.video.day_or_night import Place
from src.video.sources import check_sources, one_source, read_sources

START = "2026-11-21T08:00:00+07:00"


def test_a_start_has_a_zone_or_is_utc():
    assert one_source("a.mp4", 3, START).start == one_source("a.mp4", 3, "2026-11-21T01:00:00").start == 1795222800
    assert one_source("a.mp4", "3", "2026-11-21 01:00:00.5").start == 1795222800.5
    assert one_source("a.mp4", 3, START).name == "camera3_20261121T010000Z"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"start": "8 o'clock"}, 'start is "8 o\'clock", expected the date and time'),
        ({"start": "21.11.2026 08:00"}, "expected the date and time of the first frame, such as 2026-"),
        ({"camera": "gate"}, "camera is 'gate', expected the camera's number"),
        ({"camera": None}, "camera is None"),
        ({"place": "Saigon"}, "place is 'Saigon', expected latitude and longitude"),
        ({"place": [106.7, 10.77]}, "expected latitude and longitude"),
        ({"region": [[0, 0], [1, 1]]}, "at least three corners"),
        ({"region": "0 0 1 0 1 2"}, "each 0 to 1"),
    ],
)
def test_what_is_malformed_is_said(given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        one_source(**{"video": "a.mp4", "camera": 3, "start": START, "where": "", **given})


def test_a_file_names_many(tmp_path):
    file = tmp_path / "cameras.csv"
    file.write_text(
        f"video,camera,start,place,region\na.mp4,1,{START},10.77 106.70,\n/b.mp4,2,{START},,0 0.4 1 0.4 1 1\n"
    )
    first, second = read_sources(file)
    assert first.video == tmp_path / "a.mp4"
    assert (first.camera, first.place, first.region) == (1, Place(10.77, 106.70), None)
    assert str(second.video) == "/b.mp4"
    np.testing.assert_allclose(second.region, [[0, 0.4], [1, 0.4], [1, 1]])
    for content, sentence in (
        ("video,camera\na,1\n", "has the columns video, camera, expected video, camera, start"),
        ("video,camera,start\n", "names no video"),
        (f"video,camera,start\na,1,{START},9\n", "line 2, has not 3 fields"),
        ("video,camera,start\na,1,now\n", "line 2: start is 'now'"),
    ):
        file.write_text(content)
        with pytest.raises(ConfigError, match=sentence):
            read_sources(file)
    with pytest.raises(ConfigError, match="cannot be read as a CSV file"):
        read_sources(tmp_path / "nowhere.csv")


def test_two_videos_of_one_camera_start_at_different_times(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    videos = [one_source(str(tmp_path / name), 1, START) for name in ("a.mp4", "b.mp4")]
    check_sources(videos[:1])
    with pytest.raises(ConfigError, match="are both of camera 1 and start together"):
        check_sources(videos)
    with pytest.raises(ConfigError, match=r"c\.mp4 is not there"):
        check_sources([one_source(str(tmp_path / "c.mp4"), 1, START)])
