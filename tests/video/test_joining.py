"""Tracklets of one camera joined by appearance."""

import numpy as np
import pandas as pd

from src.video.joining import join_tracklets


def features(*vehicles, noise=0.05):
    rng = np.random.default_rng()
    basis = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    found = basis[[*vehicles]] + noise * rng.normal(size=(len(vehicles), 16)) / 4
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_a_track_goes_on_the_one_that_looks_alike_and_ended_just_before():
    table = pd.DataFrame(
        [(1, 1, 0), (1, 1, 5), (2, 1, 8), (3, 1, 9), (4, 1, 15), (5, 2, 7), (6, 1, 3), (6, 1, 20), (7, 1, 40)],
        columns=["track_id", "camera_id", "timestamp"],
    )
    # 2 goes on 1 and 4 on 2; 3 is another vehicle, 5 at another camera, 6 there all the while, 7 too late.
    vehicles = features(0, 0, 0, 1, 0, 0, 0, 0, 0)
    joined = join_tracklets(table, vehicles, gap=10, score=0.5)
    assert joined == {1: 1, 2: 1, 3: 3, 4: 1, 5: 5, 6: 6, 7: 7}
    assert join_tracklets(table, vehicles, gap=0.5, score=0.5) == {track: track for track in range(1, 8)}


def test_each_track_is_gone_on_by_one():
    table = pd.DataFrame([(1, 1, 0), (2, 1, 3), (3, 1, 3)], columns=["track_id", "camera_id", "timestamp"])
    same = features(0, 0, 0)
    joined = join_tracklets(table, same, gap=10, score=0.5)
    assert sorted([joined[2], joined[3]]) in ([1, 2], [1, 3])
    likeness = same[1:] @ same[0]
    assert joined[2 + int(likeness.argmax())] == 1
