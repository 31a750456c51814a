"""Frames, their times, and files that are no whole videos."""

import wave

import numpy as np
import pytest

from src.runtime.errors import ConfigError
from src.video.decode import Every, Video, VideoError, _upright
from tests.video.conftest import GREY, write_clip


def frames(path, every=None, after=None):
    with Video(path) as video:
        found = [*video.frames(Every.parse(every), after)]
        return found, video


def grey(levels):
    return [np.full((64, 64, 3), level, np.uint8) for level in levels]


@pytest.fixture
def uneven(tmp_path):
    """Frames at times that no frame counter could tell: three rates and a gap of ten seconds."""
    times = [*np.arange(10) / 10, *(1 + np.arange(10) / 25), *(12 + np.arange(5) / 2)]
    levels = np.linspace(40, 200, len(times)).astype(int)
    return write_clip(tmp_path / "uneven.mp4", grey(levels), times), times, levels


def test_times_are_presentation_times(uneven):
    path, times, levels = uneven
    found, video = frames(path)
    np.testing.assert_allclose([frame.time for frame in found], times, atol=2e-3)
    assert np.abs([frame.image.mean() for frame in found] - levels).max() < 6
    assert not video.problem


def test_frames_are_thinned_by_time_or_number(uneven):
    path, times, _ = uneven
    by_number, _ = frames(path, "3f")
    np.testing.assert_allclose([frame.time for frame in by_number], times[::3], atol=2e-3)
    by_time = [frame.time for frame in frames(path, 0.2)[0]]
    expected, due = [], 0.0
    for time in times:
        if time >= due - 1e-6:
            expected.append(time)
            due = time + 0.2 if due < time - 0.2 else due + 0.2
    np.testing.assert_allclose(by_time, expected, atol=2e-3)
    assert sum(time < 1 for time in by_time) == 5
    for wrong in ("0f", "-1", "often", "1.5f", "nan"):
        with pytest.raises(ConfigError, match="every is"):
            Every.parse(wrong)


@pytest.mark.parametrize("every", [None, "3f", 0.3])
def test_reading_goes_on_where_it_ended(uneven, every):
    whole, _ = frames(uneven[0], every)
    for stop in (0, 4, len(whole) - 2):
        rest, _ = frames(uneven[0], every, whole[stop].position)
        assert [frame.time for frame in rest] == [frame.time for frame in whole[stop + 1 :]]
        for one, other in zip(rest, whole[stop + 1 :], strict=True):
            np.testing.assert_array_equal(one.image, other.image)


def test_a_video_that_is_cut_off_gives_what_came_before(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (100, 96, 96, 3), dtype=np.uint8)
    times = np.arange(100) / 10
    path = write_clip(tmp_path / "whole.mp4", noise, times, options={"movflags": "faststart"})
    content = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) // 2])
    found, video = frames(cut)
    assert 20 < len(found) < 80
    np.testing.assert_allclose([frame.time for frame in found], times[: len(found)], atol=2e-3)
    assert "9.9" in video.problem or "damaged after" in video.problem
    # Without its end, which is the list of frames in this one, there is nothing to start from.
    slow = write_clip(tmp_path / "slow.mp4", noise, times)
    cut.write_bytes(slow.read_bytes()[:-5000])
    with pytest.raises(VideoError, match=r"cut\.mp4 cannot be opened .*it is no video or cut off"):
        Video(cut)


def test_a_video_that_is_damaged_in_the_middle_says_where(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (100, 96, 96, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "damaged.mp4", noise, np.arange(100) / 10)
    content = bytearray(path.read_bytes())
    start, end = len(content) // 2, len(content) // 2 + 60_000
    content[start:end] = bytes(np.random.default_rng(1).integers(0, 255, end - start, dtype=np.uint8))
    path.write_bytes(content)
    found, video = frames(path)
    assert len(found) > 40
    assert video.problem or video.position.corrupt
    assert [frame.time for frame in found] == sorted(frame.time for frame in found)


def test_what_is_no_video_is_refused(tmp_path):
    with pytest.raises(VideoError, match="is not there"):
        Video(tmp_path / "nowhere.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(VideoError, match="cannot be opened"):
        Video(text)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    with pytest.raises(VideoError, match="holds no video stream"):
        Video(tmp_path / "sound.wav")


def test_a_video_without_frames_is_refused(tmp_path):
    path = write_clip(tmp_path / "one.avi", grey([GREY]), [0], codec="mpeg4")
    content = path.read_bytes()
    start = content.index(b"movi") + 4
    path.write_bytes(content[:start])
    with pytest.raises(VideoError, match=r"holds not one frame|cannot be opened"):
        frames(path)


def test_turned_frames_are_upright():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert _upright(image, 0) is image
    np.testing.assert_array_equal(_upright(image, 90), np.rot90(image))
    np.testing.assert_array_equal(_upright(image, -90), np.rot90(image, 3))
    np.testing.assert_array_equal(_upright(image, 180), image[::-1, ::-1])
