"""From videos to a folder of crops: the whole way, stopped and gone on with, and what is wrong with input."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from src.data import read_image
from src.embed import Embedder
from src.gallery.gallery_records import own_images
from src.retrieval import read_embeddings
from src.runtime.errors import ConfigError
from src.video import crop_run, cropping, detectors
from src.video.cropping import SEGMENTS
from src.video.decode import VideoError
from src.video.segments import Segment, read_segments
from tests.video.conftest import Blobs, drive, write_clip
from tests.video.test_onnx_detector import write_model

START = "2026-11-21T08:00:00+07:00"


@pytest.fixture
def crop(composed, tmp_path, monkeypatch):
    """Runs src.crop with a detector that finds what is not grey."""
    monkeypatch.setattr(detectors, "make_detector", lambda *_, **__: Blobs())

    def run(*overrides, out="crops"):
        base = (f"out={tmp_path / out}", "detector=blobs", "classes=[car]", "processes=1", "segment=2", "k=3")
        return crop_run.run(composed(*base, *overrides, config="crop")), tmp_path / out

    return run


@pytest.fixture
def one(clip):
    return (f"video={clip}", "camera=3", f"start={START}")


def test_two_vehicles_become_two_tracks(crop, one, vehicles):
    table, out = crop(*one)
    assert table["track_id"].nunique() == 2
    assert set(table["camera_id"]) == {3}
    assert set(table["type"]) == {"car"}
    stored = pd.read_csv(out / "table.csv")
    assert list(stored.columns) == [
        *("path", "track_id", "camera_id", "timestamp", "time", "domain", "type", "frame_box", "score")
    ]
    for (_, own), vehicle, began in zip(table.groupby("track_id"), vehicles, (0, 1.5), strict=True):
        assert len(own) == 3
        seconds = own["timestamp"].to_numpy() - 1795222800
        assert began - 0.1 <= seconds.min() < seconds.max() <= began + 4.5
        assert np.diff(seconds).min() > 0.5  # spread over its time
        assert own["time"].iloc[0].startswith("2026-11-21T01:00:0")
        for path, second, box in zip(own["path"], seconds, own["frame_box"], strict=True):
            shown = read_image(out / path)
            expected = cv2.resize(vehicle, shown.shape[1::-1], interpolation=cv2.INTER_AREA)
            assert np.abs(shown.astype(int) - expected).mean() < 25
            left, *_ = map(int, box.split())
            assert left == pytest.approx(60 * (second - began), abs=6)  # where it was at that time
    (video,) = json.loads((out / "meta.json").read_text())["videos"]
    assert (video["camera"], video["start"], video["done"]) == (3, "2026-11-21T01:00:00.000Z", True)
    assert (video["tracks"], video["crops"], video["problem"]) == (2, 6, "")
    assert (out / "camera3.jpg").is_file()
    assert len(list(out.rglob("*.jpg"))) == 7


def test_the_table_can_be_indexed(crop, one):
    table, out = crop(*one, "domain=night")
    records = own_images(out / "table.csv")
    for name in ("path", "track_id", "camera_id", "domain", "type"):
        assert records[name].tolist() == table[name].tolist()
    np.testing.assert_allclose(records["timestamp"], table["timestamp"], atol=1e-3)
    assert set(records["box"]) == {""}  # a crop is looked at as a whole


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_killed_run_goes_on_after_the_last_whole_segment(crop, one, monkeypatch, stop):
    whole, _ = crop(*one, out="whole")
    write, written = Segment.write, []

    def killed(self, folder):
        if len(written) == stop:
            raise KeyboardInterrupt
        written.append(self.number)
        write(self, folder)

    monkeypatch.setattr(Segment, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        crop(*one)
    monkeypatch.setattr(Segment, "write", write)
    looked_at = []
    detect = Blobs.__call__
    monkeypatch.setattr(Blobs, "__call__", lambda self, images: looked_at.extend(images) or detect(self, images))
    again, out = crop(*one)
    assert len(looked_at) == 80 - 20 * stop
    pd.testing.assert_frame_equal(again, whole)
    for path in again["path"]:
        assert (out / path).read_bytes() == (out.parent / "whole" / path).read_bytes()
    looked_at.clear()
    pd.testing.assert_frame_equal(crop(*one)[0], whole)  # and once more, with nothing left to do
    assert not looked_at


def test_a_full_disk_loses_nothing(crop, one, monkeypatch):
    whole, _ = crop(*one, out="whole")
    write, left = cropping.write_atomically, [2]

    def full(path, content):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(f"{path} cannot be written (No space left on device). Make room there.")
        write(path, content)

    monkeypatch.setattr(cropping, "write_atomically", full)
    with pytest.raises(VideoError, match="No space left on device"):
        crop(*one)
    monkeypatch.setattr(cropping, "write_atomically", write)
    pd.testing.assert_frame_equal(crop(*one)[0], whole)


def test_a_recording_that_grows_is_cropped_on(crop, one, clip, tmp_path, vehicles):
    times = np.arange(80) / 10
    images = drive(vehicles, times)
    grown = tmp_path / "grown.mp4"
    write_clip(grown, images[:50], times[:50])
    overrides = (f"video={grown}", "camera=3", f"start={START}")
    first, _ = crop(*overrides)
    write_clip(grown, images, times)
    second, _ = crop(*overrides)
    whole, _ = crop(*one, out="whole")
    assert len(first) > 0
    np.testing.assert_allclose(second["timestamp"], whole["timestamp"], atol=0.11)
    assert second["track_id"].tolist() == whole["track_id"].tolist()


def test_other_options_need_another_folder(crop, one):
    crop(*one)
    with pytest.raises(ConfigError, match=r"made with k=3, not 4; pass another folder"):
        crop(*one, "k=4")
    with pytest.raises(ConfigError, match=r"made with every=0\.0, not 2f"):
        crop(*one, "every=2f")


def test_a_folder_takes_up_more_videos_and_keeps_numbers(crop, one, tmp_path, vehicles):
    first, out = crop(*one)
    times = np.arange(40) / 10
    other = write_clip(tmp_path / "other.mp4", drive(vehicles[:1], times), times)
    both, _ = crop(f"video={other}", "camera=4", f"start={START}")
    pd.testing.assert_frame_equal(both[both["camera_id"] == 3].reset_index(drop=True), first)
    assert both["track_id"].nunique() == 3
    assert (out / "camera4.jpg").is_file()


def test_what_fails_does_not_keep_the_others_back(crop, clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    lines = ["video,camera,start", f"text.mp4,1,{START}", f"{clip},2,{START}"]
    (tmp_path / "cameras.csv").write_text("\n".join(lines))
    with pytest.raises(VideoError, match=r"text\.mp4 cannot be opened .*1 of 2 videos failed"):
        crop(f"videos={tmp_path / 'cameras.csv'}")
    assert set(pd.read_csv(tmp_path / "crops" / "table.csv")["camera_id"]) == {2}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["k=0"], "k is 0, expected at least 1"),
        (["score=1.5"], "score is 1.5, expected 0 to 1"),
        (["tracker=sort"], "tracker is 'sort', expected bytetrack or ocsort"),
        (["domain=dusk"], "domain is 'dusk', expected auto, day, night, or null"),
        (["every=often"], "every is 'often'"),
        (["start=null"], "start is missing"),
        (["start=now"], "start is 'now'"),
        (["camera=null"], "camera is None"),
        (["region=[[0,0],[1,1]]"], "region is .* at least three corners"),
        (["videos=a.csv"], "Pass video=.* or videos=.* one of them"),
        (["classes=[tram]"], "classes has 'tram'"),
        (["processes=0"], "processes is 0"),
    ],
)
def test_wrong_options_are_refused(crop, one, overrides, sentence):
    with pytest.raises((ConfigError, VideoError), match=sentence):
        crop(*one, *overrides)


def test_the_region_of_interest_leaves_a_lane_out(crop, one):
    table, _ = crop(*one, "region=[[0,0.5],[1,0.5],[1,1],[0,1]]")
    assert len(set(table["track_id"])) == 1
    assert min(int(box.split()[1]) for box in table["frame_box"]) > 80


def test_a_foreign_folder_is_left_alone(crop, one, tmp_path):
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "meta.json").write_text('{"checkpoint": "x"}')
    with pytest.raises(ConfigError, match=r"something that src\.crop has not made"):
        crop(*one)
    assert (tmp_path / "crops" / "meta.json").read_text() == '{"checkpoint": "x"}'


def test_a_damaged_segment_is_named(crop, one):
    _, out = crop(*one)
    (file, *_) = sorted(out.rglob("*.segment"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"000000\.segment cannot be read"):
        crop(*one)


def test_tracks_are_joined_with_a_checkpoint(crop, tmp_path, vehicles, untrained):
    times = [*np.arange(30) / 10, *(7 + np.arange(30) / 10)]  # behind something for four seconds
    images = drive(vehicles[:1], np.arange(30) / 10) * 2
    path = write_clip(tmp_path / "pole.mp4", images, times)
    apart, _ = crop(f"video={path}", "camera=1", f"start={START}", out="apart")
    assert apart["track_id"].nunique() == 2
    joined, out = crop(f"video={path}", "camera=1", f"start={START}", f"checkpoint={untrained()}", "join_score=0.5")
    assert set(joined["track_id"]) == {apart["track_id"].min()}
    assert pd.read_csv(out / "table.csv")["track_id"].tolist() == joined["track_id"].tolist()


def test_segments_survive_their_file(crop, one, tmp_path):
    _, out = crop(*one)
    segments = read_segments(next(out.glob("camera3_*")) / SEGMENTS)
    assert [segment.number for segment in segments] == [0, 1, 2, 3]
    assert [segment.last for segment in segments] == [False, False, False, True]
    live = segments[0].live
    assert live
    copy = tmp_path / "copy"
    segments[0].write(copy)
    (again,) = read_segments(copy)
    assert again.live == live
    assert again.crops == segments[0].crops
    assert again.times == segments[0].times
    for one_frame, other in zip(again.found, segments[0].found, strict=True):
        np.testing.assert_array_equal(one_frame.boxes, other.boxes)


@pytest.mark.slow
def test_two_cameras_side_by_side_with_the_command(command, clip, tmp_path, shared, untrained):
    """The whole way to a gallery, with a real detector on a real road where they are."""
    if shared is not None:
        model, video = shared / "models" / "yolox_nano.onnx", shared / "video" / "road.mp4"
    else:  # says that there is a car in the same place of every frame
        places = sum((416 // stride) ** 2 for stride in (8, 16, 32))
        output = np.zeros((places, 85))
        output[3000, [2, 3, 4, 7]] = [1.5, 1.5, 0.9, 0.9]
        model, video = write_model(tmp_path / "one.onnx", [output], 1, (416, 416)), clip
    shutil.copy(video, tmp_path / "a.mp4")
    lines = ["video,camera,start,place", f"a.mp4,1,{START},10.77 106.70", f"a.mp4,2,{START},"]
    (tmp_path / "cameras.csv").write_text("\n".join(lines))
    checkpoint = untrained()
    GlobalHydra.instance().clear()  # that composed a configuration
    options = ("videos=cameras.csv", f"detector={model}", "out=crops", "processes=2", "every=2f")
    done = command("src.crop", *options)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "crops" / "table.csv")
    assert set(table["camera_id"]) == {1, 2}
    one, other = (table[table["camera_id"] == camera] for camera in (1, 2))
    assert one["timestamp"].tolist() == other["timestamp"].tolist()
    assert set(one["domain"]) == {"day"}  # by the sun
    if shared is not None:
        assert one["track_id"].nunique() == 2
    indexed = command(
        "src.index", f"checkpoint={checkpoint}", "images=crops/table.csv", "out=index", "device=cpu", "workers=1"
    )
    assert indexed.returncode == 0, indexed.stderr
    assert len(read_embeddings(tmp_path / "index").table) == len(table)
    refused = command("src.crop", *options, "k=9")
    assert refused.returncode == 1
    assert "made with k=4, not 9" in refused.stderr


def test_a_checkpoint_that_must_know_the_domain_is_told(crop, one, untrained, monkeypatch):
    told = []
    embed = Embedder.__call__
    monkeypatch.setattr(Embedder, "__call__", lambda self, images, d: told.extend(d) or embed(self, images, d))
    crop(*one, "domain=night", f"checkpoint={untrained()}")
    assert set(told) == {"night"}
