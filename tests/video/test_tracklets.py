"""The two trackers through our interface: numbers, times, repeatability."""

import numpy as np
import pytest

from src.video.detections import Detections
from src.video.tracklets import TRACKERS, Tracker


def frame(*boxes, score=0.9):
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(found, np.full(len(found), score, np.float32), np.zeros(len(found), np.int64))


def drive(time):
    """Two cars that meet: one to the right, one to the left, in lanes of their own."""
    x, y = 100 * time, 300 - 100 * time
    return [(x, 10, x + 60, 50), (y, 70, y + 60, 110)]


def make(kind, rate=25.0, lost=1.0):
    return Tracker(kind, frame_rate=rate, score=0.4, lost=lost)


@pytest.mark.parametrize("kind", TRACKERS)
def test_vehicles_keep_their_numbers(kind):
    tracker = make(kind)
    numbers = np.array([tracker(frame(*drive(time)), time) for time in np.arange(75) / 25])
    assert (numbers[10:] == numbers[10]).all()
    assert numbers[10, 0] != numbers[10, 1]
    assert (numbers[10] >= 0).all()


@pytest.mark.parametrize("kind", TRACKERS)
def test_the_order_of_detections_does_not_matter(kind):
    tracker, turned = make(kind), make(kind)
    for time in np.arange(30) / 25:
        one = tracker(frame(*drive(time)), time)
        other = turned(frame(*drive(time)[::-1]), time)
    assert len({*one.tolist()}) == len({*other.tolist()}) == 2


@pytest.mark.parametrize("kind", TRACKERS)
def test_gaps_are_measured_in_time_not_in_frames(kind):
    def numbers(pause):
        tracker = make(kind, lost=1.0)
        for time in np.arange(50) / 25:
            before = tracker(frame(drive(time)[0]), time)
        here = drive(time)[0]  # it stands still during the gap
        for step in range(10):
            after = tracker(frame(here), time + pause + step / 25)
        return before[0], after[0]

    before, after = numbers(pause=0.04)
    assert before == after >= 0
    before, after = numbers(pause=30.0)
    assert before != after >= 0


def test_the_same_detections_give_the_same_numbers():
    rng = np.random.default_rng()
    steps = []
    for time in np.arange(60) / 25:
        boxes = np.array(drive(time)) + rng.normal(scale=2, size=(2, 4))
        steps.append((frame(*boxes[rng.random(2) < 0.8]), time))
    one, other = make("bytetrack"), make("bytetrack")
    assert [one(*step).tolist() for step in steps] == [other(*step).tolist() for step in steps]


def test_bytetrack_goes_on_with_low_scores_and_does_not_start_with_them():
    tracker = make("bytetrack")
    for time in np.arange(20) / 25:
        started = tracker(frame(drive(time)[0]), time)
    for time in np.arange(20, 30) / 25:
        went_on = tracker(frame(drive(time)[0], score=0.2), time)
    assert started.tolist() == went_on.tolist() != [-1]
    tracker = make("bytetrack")
    assert all((tracker(frame(drive(time)[0], score=0.2), time) == -1).all() for time in np.arange(20) / 25)
