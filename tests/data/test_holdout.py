import numpy as np
import pytest

from src.data import DataError, build_tasks, make_table
from src.data.holdout import hold_out, put_aside


def table(count=60, **more):
    rng = np.random.default_rng(0)
    columns = {
        "path": [f"{i}.jpg" for i in range(count)],
        "vehicle_id": rng.integers(-1, 9, count),
        "camera_id": rng.integers(0, 3, count),
        "split": rng.choice(["train", "query", "gallery"], count, p=[0.8, 0.1, 0.1]),
    }
    return make_table("/data", "cars", columns | more)


def test_held_out_identities_become_the_test_set():
    whole = table()
    held = hold_out(whole, 0.3)
    train = whole[whole["split"] == "train"]
    assert held["path"].tolist() == train["path"].tolist()
    assert held.index.tolist() == list(range(len(held)))
    assert set(held["split"]) == {"train", "test"}
    ids = {split: set(held["vehicle_id"][held["split"] == split]) for split in ("train", "test")}
    assert not ids["train"] & ids["test"]
    assert len(ids["test"]) == 3  # of 9
    assert -1 not in ids["test"]
    tasks = build_tasks(held, ["image_to_image", "image_to_track"])
    for task in tasks:
        np.testing.assert_array_equal(task.trials[0].query, np.flatnonzero(held["split"] == "test"))
    tracks = held[held["split"] == "test"].groupby("track_id")[["vehicle_id", "camera_id"]].nunique()
    assert (tracks == 1).all(axis=None)


def test_the_seed_decides_and_nothing_else():
    whole = table()
    splits = [hold_out(whole, 0.5, seed)["split"].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    shuffled = whole.sample(frac=1, random_state=1).reset_index(drop=True)
    by_path = [hold_out(t, 0.5).set_index("path")["split"].sort_index() for t in (whole, shuffled)]
    assert by_path[0].equals(by_path[1])


def test_known_tracks_stay():
    tracks = np.arange(60)
    held = hold_out(table(track_id=tracks), 0.5)
    assert held["track_id"].is_unique


@pytest.mark.parametrize("share", [-0.1, 0.0, 0.01, 0.99, 1.0, 2.0])
def test_impossible_shares_are_refused(share):
    with pytest.raises(DataError, match=rf"data\.holdout is {share} of 9 training identities"):
        hold_out(table(), share)


def test_vehicles_put_aside_are_neither_trained_on_nor_tested():
    whole = table()
    aside = put_aside(whole, 0.3)
    assert aside.drop(columns="split").equals(whole.drop(columns="split"))
    changed = aside["split"] != whole["split"]
    assert set(aside["split"][changed]) == {"calibration"}
    assert set(whole["split"][changed]) == {"train"}
    ids = set(aside["vehicle_id"][changed])
    assert len(ids) == 3
    assert not ids & set(aside["vehicle_id"][aside["split"] == "train"])
    assert -1 not in ids
    assert put_aside(whole, 0.3).equals(aside)
    with pytest.raises(DataError, match=r"data\.calibration is 0\.01 of 9 training identities"):
        put_aside(whole, 0.01)


def test_what_is_held_out_is_not_put_aside_too():
    both = put_aside(hold_out(table(), 0.3), 0.5)
    of_split = both.groupby("split")["vehicle_id"].unique()
    assert [len(set(of_split[name]) - {-1}) for name in ("test", "calibration", "train")] == [3, 3, 3]
