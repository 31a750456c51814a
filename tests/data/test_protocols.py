import json

import numpy as np
import pandas as pd
import pytest

from src.data.protocols import TASKS, Trial, answerable, build_tasks
from src.data.table import DataError, make_table


def random_table(seed: int, **columns) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = 60
    values = {
        "path": [f"{number}.jpg" for number in range(n)],
        "split": rng.choice(["train", "query", "gallery", "test"], n),
        "vehicle_id": rng.integers(0, 9, n),
        "domain": rng.choice(["day", "night"], n),
        "camera_id": rng.integers(1, 5, n),
        "track_id": rng.integers(0, 20, n),
    }
    return make_table("root", "set", values | columns)


@pytest.mark.parametrize("name", ["day_to_night", "night_to_day", "day_to_day", "night_to_night"])
def test_across_domains(name):
    table = random_table(1, camera_id=-1)
    (task,) = build_tasks(table, [name])
    query_domain, gallery_domain = name.split("_to_")
    query, gallery = [], []
    for row, record in table.iterrows():
        if record["split"] in ("query", "test") and record["domain"] == query_domain:
            query.append(row)
        if record["split"] in ("gallery", "test") and record["domain"] == gallery_domain:
            gallery.append(row)
    (trial,) = task.trials
    assert trial.query.tolist() == query
    assert trial.gallery.tolist() == gallery
    assert trial.query.dtype == trial.gallery.dtype == np.int64
    assert task.protocol.ignore == ("same_image" if query_domain == gallery_domain else "none")
    assert task.protocol.direction == f"{query_domain} query → {gallery_domain} gallery"
    assert task.name == task.protocol.name == name


def test_from_one_camera_to_another():
    table = random_table(9)
    table.loc[::5, "camera_id"] = 12
    there, back = build_tasks(table, ["camera_2_to_camera_12", "camera_12_to_camera_2"])
    for task, cameras in ((there, (2, 12)), (back, (12, 2))):
        sides = [
            [row for row in table.index if table["split"][row] in (side, "test") and table["camera_id"][row] == camera]
            for side, camera in zip(("query", "gallery"), cameras, strict=True)
        ]
        assert [task.trials[0].query.tolist(), task.trials[0].gallery.tolist()] == sides
        assert task.protocol.ignore == "none"
        assert task.protocol.direction == f"query of camera {cameras[0]} → gallery of camera {cameras[1]}"


def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(
        DataError, match=r"needs test images of camera 7, and those of data set 'set' are of .* 1, 2, 3, 4"
    ):
        build_tasks(random_table(9), ["camera_1_to_camera_7"])
    with pytest.raises(DataError, match=r"needs test images of camera 1, and those of data set 'set' have no camera"):
        build_tasks(random_table(9, camera_id=-1), ["camera_1_to_camera_2"])
    with pytest.raises(DataError, match=r"'camera_1_to_night', expected some of .*camera_<number>_to_camera_<number>"):
        build_tasks(random_table(9), ["camera_1_to_night"])


@pytest.mark.parametrize(("camera", "ignore"), [(np.arange(60), "same_camera"), (-1, "same_image")])
def test_image_to_image(camera, ignore):
    table = random_table(2, camera_id=camera)
    (task,) = build_tasks(table, ["image_to_image"], ap="trapezoid")
    assert task.trials[0].query.tolist() == [r for r in table.index if table["split"][r] in ("query", "test")]
    assert task.trials[0].gallery.tolist() == [r for r in table.index if table["split"][r] in ("gallery", "test")]
    assert task.protocol.ignore == ignore
    assert task.protocol.ap == "trapezoid"
    assert json.loads(json.dumps(task.protocol.as_dict())) == {
        "name": "image_to_image",
        "direction": "image query → image gallery",
        "ignore": ignore,
        "gallery_unit": "image",
        "ap": "trapezoid",
    }


def test_image_to_track():
    table = random_table(3)
    (task,) = build_tasks(table, ["image_to_track"])
    (same,) = build_tasks(table, ["image_to_image"])
    assert task.trials[0].gallery.tolist() == same.trials[0].gallery.tolist()
    rules = task.protocol.as_dict()
    assert (rules["gallery_unit"], rules["track_distance"], rules["ignore"]) == ("track", "min", "same_camera")


def vehicle_id_table(seed: int) -> pd.DataFrame:
    """Test images without cameras, two to five of each vehicle, in random order."""
    rng = np.random.default_rng(seed)
    vehicles = rng.permutation(np.repeat(rng.permutation(500)[:12], rng.integers(2, 6, 12)))
    n = len(vehicles)
    return make_table(
        "root", "set", {"path": [f"{name}.jpg" for name in rng.permutation(n)], "split": "test", "vehicle_id": vehicles}
    )


def trials_by_path(table: pd.DataFrame, **options) -> list[tuple[list[str], list[str]]]:
    (task,) = build_tasks(table, ["one_gallery_image"], **options)
    return [
        tuple(sorted(table["path"][side].tolist()) for side in (trial.query, trial.gallery)) for trial in task.trials
    ]


def test_one_gallery_image_is_drawn_of_each_vehicle_in_each_trial():
    table = vehicle_id_table(7)
    (task,) = build_tasks(table, ["one_gallery_image"])
    for trial in task.trials:
        assert sorted(table["vehicle_id"][trial.gallery]) == sorted(table["vehicle_id"].unique())
        assert sorted([*trial.query, *trial.gallery]) == table.index.tolist()
        assert (np.diff(trial.query) > 0).all()
        assert (np.diff(trial.gallery) > 0).all()
        assert trial.query.dtype == trial.gallery.dtype == np.int64
    assert len({tuple(trial.gallery) for trial in task.trials}) == len(task.trials) == 10
    assert task.protocol.as_dict() == {
        "name": "one_gallery_image",
        "direction": "all other images (query) → one random image of each vehicle (gallery)",
        "ignore": "none",
        "gallery_unit": "image",
        "ap": "standard",
        "trials": 10,
        "seed": 0,
    }


def test_each_image_of_a_vehicle_is_drawn_equally_often():
    table = make_table("r", "set", {"path": list("abcdef"), "split": "test", "vehicle_id": [1, 1, 2, 2, 2, 2]})
    (task,) = build_tasks(table, ["one_gallery_image"], trials=4000)
    counts = np.bincount(np.concatenate([trial.gallery for trial in task.trials]), minlength=6)
    assert np.allclose(counts, [2000, 2000, 1000, 1000, 1000, 1000], atol=150)


def test_one_query_image_is_the_other_direction():
    table = vehicle_id_table(8)
    there, back = build_tasks(table, ["one_gallery_image", "one_query_image"])
    for one, other in zip(there.trials, back.trials, strict=True):
        assert (one.query.tolist(), one.gallery.tolist()) == (other.gallery.tolist(), other.query.tolist())
    assert back.protocol.direction == "one random image of each vehicle (query) → all other images (gallery)"


def test_draws_depend_on_seed_and_trial_but_not_on_the_order_of_the_list():
    table = vehicle_id_table(9)
    shuffled = table.sample(frac=1, random_state=1).reset_index(drop=True)
    assert trials_by_path(shuffled) == trials_by_path(table)
    assert trials_by_path(table, trials=3) == trials_by_path(table)[:3]
    assert trials_by_path(table, seed=1) != trials_by_path(table)


def test_training_images_need_neither_camera_nor_track():
    table = random_table(4)
    table.loc[table["split"] == "train", ["camera_id", "track_id"]] = -1
    assert [task.protocol.ignore for task in build_tasks(table, ["image_to_image", "image_to_track"])] == [
        "same_camera",
        "same_camera",
    ]


def test_tasks_come_in_the_order_asked_for():
    assert [task.name for task in build_tasks(random_table(5), list(TASKS)[::-1])] == list(TASKS)[::-1]
    assert build_tasks(random_table(5), []) == []


def test_what_cannot_be_evaluated_is_explained():
    table = random_table(6)
    with pytest.raises(DataError, match=r"data\.tasks names 'day_to_dawn', expected some of day_to_night"):
        build_tasks(table, ["day_to_dawn"])
    with pytest.raises(DataError, match=r"data\.ap is 'top', expected one of standard, trapezoid"):
        build_tasks(table, [], ap="top")
    with pytest.raises(DataError, match=r"'day_to_night' needs a domain .* data set 'set' has none"):
        build_tasks(random_table(6, domain=""), ["day_to_night"])
    with pytest.raises(DataError, match="'night_to_day' has no query images"):
        build_tasks(random_table(6, domain="day"), ["night_to_day"])
    with pytest.raises(DataError, match="'image_to_image' has no gallery images"):
        build_tasks(random_table(6, split="query"), ["image_to_image"])
    with pytest.raises(DataError, match=r"'image_to_image': \d+ of \d+ queries .* unknown vehicle"):
        build_tasks(random_table(6, vehicle_id=-1), ["image_to_image"])
    tests = int((table["split"] != "train").sum())
    first = table.index[table["split"] == "query"][0]
    with pytest.raises(
        DataError, match=rf"1 of {tests} test images of data set 'set' have no camera; give all of them"
    ):
        build_tasks(random_table(6, camera_id=[-1 if row == first else 1 for row in table.index]), ["image_to_image"])
    with pytest.raises(DataError, match=rf"'image_to_track' needs a camera_id .* {tests} of {tests}"):
        build_tasks(random_table(6, camera_id=-1), ["image_to_track"])
    with pytest.raises(DataError, match="'image_to_track' needs a track_id"):
        build_tasks(random_table(6, track_id=-1), ["image_to_track"])
    with pytest.raises(
        DataError, match=r"'one_gallery_image' draws .* 60 images with split 'test', no two of one vehicle"
    ):
        build_tasks(random_table(6, split="test", vehicle_id=np.arange(60)), ["one_gallery_image"])
    with pytest.raises(DataError, match=r"'one_query_image': 60 of 60 queries .* unknown vehicle"):
        build_tasks(random_table(6, split="test", vehicle_id=-1), ["one_query_image"])
    with pytest.raises(DataError, match="The number of trials is 0, expected at least 1"):
        build_tasks(table, ["one_gallery_image"], trials=0)


RULES = ["none", "same_camera", "same_image"]


def answers_of_a_loop(table, trial, ignore) -> list[bool]:
    found = []
    for query in trial.query:
        own = table.loc[query]
        others = [
            row
            for row in trial.gallery
            if (table["dataset"][row], table["vehicle_id"][row]) == (own["dataset"], own["vehicle_id"])
            and not (ignore == "same_camera" and table["camera_id"][row] == own["camera_id"])
            and not (ignore == "same_image" and row == query)
        ]
        found.append(bool(others))
    return found


@pytest.mark.parametrize("ignore", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_which_queries_have_an_answer_is_what_a_loop_finds(ignore, seed):
    rng = np.random.default_rng(seed)
    table = random_table(seed, vehicle_id=rng.integers(0, 20, 60), camera_id=rng.integers(1, 3, 60))
    table["dataset"] = rng.choice(["one", "two"], 60)
    query, gallery = (np.flatnonzero(table["split"].isin([side, "test"])) for side in ("query", "gallery"))
    trial = Trial(query, gallery)
    found = answerable(table, trial, ignore)
    assert found.tolist() == answers_of_a_loop(table, trial, ignore)
    assert 0 < found.sum() < len(found)


@pytest.mark.parametrize("name", ["image_to_image", "image_to_track"])
def test_one_camera_leaves_nothing_to_find(name):
    with pytest.raises(DataError, match=rf"'{name}': the rule same_camera leaves none of the \d+ queries .*camera_id"):
        build_tasks(random_table(6, camera_id=3), [name])


def test_nor_do_vehicles_of_one_camera_each():
    table = random_table(6)
    table["camera_id"] = table["vehicle_id"] + 1
    with pytest.raises(DataError, match=r"every gallery image of its vehicle is from its own camera \(camera_id\)"):
        build_tasks(table, ["image_to_image"])
    table["camera_id"] = -1  # then only the query itself is ignored
    assert build_tasks(table, ["image_to_image"])[0].protocol.ignore == "same_image"


def test_nor_does_one_image_a_vehicle():
    with pytest.raises(DataError, match=r"'image_to_image': the rule same_image .* no image but the query itself"):
        build_tasks(random_table(6, split="test", vehicle_id=range(60), camera_id=-1), ["image_to_image"])
    with pytest.raises(DataError, match="'day_to_day': the rule same_image"):
        build_tasks(random_table(6, split="test", vehicle_id=range(60)), ["day_to_day"])
