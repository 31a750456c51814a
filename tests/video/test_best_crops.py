"""Which crops of a track are kept."""

import cv2
import numpy as np
import pytest

from src.video.best_crops import Candidate, Track, at_border, covered_shares, crop_quality


def candidate(time, quality):
    return Candidate(time, (0, 0, 40, 30), 0.9, quality, 0.5)


def track(qualities, k=4, step=0.1):
    made = Track(1, k, 5.0, 5.0)
    for number, quality in enumerate(qualities):
        made.add(candidate(5 + number * step, quality), "car")
    return made


def test_the_best_of_each_part_of_its_time_are_chosen():
    qualities = np.random.default_rng().random(200)
    made = track(qualities)
    chosen = made.chosen()
    assert len(chosen) == 4
    parts = [int((kept.time - 5) / (made.last - 5) * 4) for kept in chosen]
    assert parts in ([0, 1, 2, 3], [0, 1, 2, 4])
    # Slots may shift where a part begins by their own length, never more.
    for part, kept in enumerate(chosen):
        inside = 0.5 - 4 * made.slot / (made.last - 5)
        own = [quality for number, quality in enumerate(qualities) if abs(number / 199 * 4 - part - 0.5) < inside]
        assert kept.quality >= max(own)


def test_short_tracks_keep_what_they_have():
    assert [kept.quality for kept in track([0.5, 0.7], step=0.2).chosen()] == [0.5, 0.7]
    assert [kept.quality for kept in track([0.5]).chosen()] == [0.5]
    # All but one in the first quarter: three of the best of those, and the last.
    made = Track(1, 4, 0.0, 0.0)
    for time, quality in ((0, 1), (0.2, 2), (0.4, 3), (0.6, 4), (9.9, 0.1)):
        made.add(candidate(time, quality), "car")
    assert [kept.quality for kept in made.chosen()] == [2, 3, 4, 0.1]


def test_a_parked_car_takes_no_more_memory():
    made = track(np.random.default_rng(0).random(20_000), k=3)
    assert len(made.best) <= 12
    assert max(kept.quality for kept in made.best.values()) > 0.999


def test_types_are_voted_for():
    made = Track(1, 2, 0, 0)
    for time, name, score in ((0, "truck", 0.9), (0.1, "car", 0.5), (0.2, "car", 0.6)):
        made.add(Candidate(time, (0, 0, 9, 9), score, 1, 0.5), name)
    assert made.type == "car"
    assert made.mean_score == pytest.approx(2 / 3)


def test_a_track_survives_json():
    made = track([0.1, 0.9, 0.5])
    for kept in made.best.values():
        kept.pixels = np.full((4, 4, 3), 99, np.uint8)
    jpegs = [kept.encode() for kept in made.best.values()]
    assert Track.from_dict(made.as_dict(), jpegs) == made


def test_sharp_large_uncovered_whole_crops_are_better(vehicles):
    sharp = cv2.resize(vehicles[0], (160, 120))
    quality = crop_quality(sharp, 0.0, False)
    assert crop_quality(cv2.GaussianBlur(sharp, (0, 0), 3), 0.0, False) < 0.7 * quality
    assert crop_quality(cv2.resize(sharp, (80, 60)), 0.0, False) < 0.7 * quality
    assert crop_quality(sharp, 0.5, False) == pytest.approx(0.5 * quality)
    assert crop_quality(sharp, 0.0, True) == pytest.approx(0.5 * quality)


def test_covered_shares_against_pixels():
    rng = np.random.default_rng()
    corners = rng.integers(0, 40, (6, 2))
    boxes = np.concatenate([corners, corners + rng.integers(5, 25, (6, 2))], axis=1)
    shares = covered_shares(boxes.astype(np.float32))
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        most = 0.0
        for other in boxes[boxes[:, 3] > y2]:
            canvas = np.zeros((80, 80), bool)
            canvas[other[1] : other[3], other[0] : other[2]] = True
            most = max(most, canvas[y1:y2, x1:x2].mean())
        assert shares[row] == pytest.approx(most)
    assert covered_shares(np.empty((0, 4), np.float32)).shape == (0,)


def test_boxes_at_the_border():
    assert at_border((0, 10, 50, 60), (100, 200))
    assert at_border((20, 10, 199, 60), (100, 200))
    assert not at_border((5, 5, 190, 90), (100, 200))
