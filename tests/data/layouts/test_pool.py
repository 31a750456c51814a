from pathlib import Path

import pytest

from src.data.dataset import train_labels
from src.data.layouts import CSV, Pool, VeRi776
from src.data.layouts.pool import Source
from src.data.protocols import build_tasks
from src.data.table import DataError

ONE = """path,vehicle_id,split,colour,type
a.jpg,3,train,grey,SUV
b.jpg,3,train,grey,SUV
c.jpg,7,train,red,Station  Wagon
d.jpg,9,query,Gray,
e.jpg,9,gallery,,
f.jpg,-1,gallery,,
"""
TWO = """path,vehicle_id,split,colour,type,domain
a.jpg,3,train,gray,suv,day
b.jpg,4,train,gold,estate,night
c.jpg,9,test,red,,
c.jpg,9,gallery,red,,
d.jpg,-1,gallery,,,
"""


def write(root: Path, name: str, text: str) -> CSV:
    folder = root / name
    folder.mkdir(parents=True)
    for path in {line.partition(",")[0] for line in text.splitlines()[1:]}:
        (folder / path).touch()
    lines = text.splitlines()
    (folder / "table.csv").write_text("\n".join(dict.fromkeys(lines)))
    return CSV(folder, f"file of {name}")


@pytest.fixture
def one(tmp_path) -> CSV:
    return write(tmp_path, "one", ONE)


@pytest.fixture
def two(tmp_path) -> CSV:
    return write(tmp_path, "two", TWO.replace("c.jpg,9,gallery,red,,\n", ""))


def content(table) -> list[tuple]:
    return list(zip(table["dataset"], table["path"], table["vehicle_id"], table["split"], strict=True))


def test_the_target_keeps_its_test_split_and_the_others_only_train(one, two):
    pool = Pool("both", {"one": {"layout": one}, "two": {"layout": two}}, target="one")
    table = pool.read()
    assert content(table) == [
        ("one", "a.jpg", 3, "train"),
        ("one", "b.jpg", 3, "train"),
        ("one", "c.jpg", 7, "train"),
        ("one", "d.jpg", 9, "query"),
        ("one", "e.jpg", 9, "gallery"),
        ("one", "f.jpg", -1, "gallery"),
        ("two", "a.jpg", 3, "train"),
        ("two", "b.jpg", 4, "train"),
    ]
    assert table.index.tolist() == list(range(8))
    # Vehicle 3 of one set is not vehicle 3 of the other.
    assert train_labels(table) == [("one", 3), ("one", 7), ("two", 3), ("two", 4)]
    assert table["root"].tolist() == [str(one.root)] * 6 + [str(two.root)] * 2
    (task,) = build_tasks(table, ["image_to_image"])
    assert (task.trials[0].query.tolist(), task.trials[0].gallery.tolist()) == ([3], [4, 5])
    assert pool.counts(table) == "one: 3 real images of 2 vehicles; two: 2 real images of 2 vehicles"


def test_names_get_one_spelling(one, two):
    table = Pool("both", {"one": {"layout": one}, "two": {"layout": two}}).read()
    assert table["colour"].tolist() == ["gray", "gray", "red", "gray", "golden"]
    assert table["type"].tolist() == ["suv", "suv", "estate", "suv", "estate"]
    assert table["domain"].tolist() == ["", "", "", "day", "night"]


def test_whole_data_sets_but_never_the_targets_test_split(one, two):
    sources = {"one": {"layout": one, "use": "all"}, "two": {"layout": two, "use": "all", "role": "synthetic"}}
    pool = Pool("both", sources, target="one")
    table = pool.read()
    expected = Pool("both", sources | {"one": {"layout": one}}, target="one").read()
    assert table.equals(expected)
    # Images of unknown vehicles cannot be trained on.
    assert content(table[table["dataset"] == "two"]) == [
        ("two", "a.jpg", 3, "train"),
        ("two", "b.jpg", 4, "train"),
        ("two", "c.jpg", 9, "train"),
    ]
    assert pool.counts(table) == "one: 3 real images of 2 vehicles; two: 3 synthetic images of 3 vehicles"


def test_an_image_that_is_query_and_gallery_is_trained_on_once(quickstart_veri):
    veri = VeRi776(quickstart_veri, "veri")
    whole = veri.read()
    table = Pool("all", {"veri": {"layout": veri, "use": "all"}}).read()
    assert set(table["split"]) == {"train"}
    assert len(table) == (whole["split"] != "query").sum()  # queries are in the gallery's folder too
    assert not table["path"].str.rpartition("/")[2].duplicated().any()


@pytest.mark.parametrize(("first", "ids"), [(1, {3}), (2, {3, 4}), (3, {3, 4, 9}), (50, {3, 4, 9})])
def test_the_first_identities_of_a_source(one, two, first, ids):
    sources = {"one": {"layout": one}, "two": {"layout": two, "use": "all", "first_ids": first}}
    table = Pool("both", sources, target="one").read()
    assert set(table.loc[table["dataset"] == "two", "vehicle_id"]) == ids
    sources["one"] = {"layout": one, "first_ids": 1}
    table = Pool("both", sources, target="one").read()
    assert set(table.loc[(table["dataset"] == "one") & (table["split"] == "train"), "vehicle_id"]) == {3}
    assert (table["split"] == "query").sum() == 1
    assert (table["split"] == "gallery").sum() == 2


def test_side_data_of_one_source_leaves_the_others_alone(one, two, tmp_path):
    (tmp_path / "extra.csv").write_text("path,camera_id\na.jpg,5\n")
    sources = {"one": {"layout": one, "extra": tmp_path / "extra.csv"}, "two": {"layout": two}}
    assert Pool("both", sources).read()["camera_id"].tolist() == [5, -1, -1, -1, -1]


def test_test_images_of_the_target_under_another_name_are_refused(one, two, tmp_path):
    (tmp_path / "link").symlink_to(one.root)
    again = CSV(tmp_path / "link", "again")
    sources = {"one": {"layout": one}, "again": {"layout": again, "use": "all"}}
    with pytest.raises(DataError, match=r"'again' .* trains on 2 images of the test split of the target 'one', d\.jpg"):
        Pool("both", sources, target="one").read()
    # Its training images alone are harmless, and so is everything where nothing is tested.
    Pool("both", sources | {"again": {"layout": again}}, target="one").read()
    Pool("both", sources).read()


def test_sets_that_share_images_under_other_names_are_refused(one, two):
    with pytest.raises(DataError, match="dn_wild and veri_wild2 cannot be pooled: DN-Wild's images come from"):
        Pool("both", {"veri_wild2": {"layout": one}, "dn_wild": {"layout": two}})


@pytest.mark.parametrize(
    ("sources", "target", "message"),
    [
        (None, None, "'both' has no sources, expected at least one"),
        ({}, "one", "has no sources"),
        ({"one": {}}, "two", "data.target is 'two', expected one of one, or null"),
        ({"one": {"role": "fake"}}, None, "data.sources.one.role is 'fake', expected real or synthetic"),
        ({"one": {"use": "test"}}, None, "data.sources.one.use is 'test', expected train or all"),
        ({"one": {"first_ids": 0}}, None, "data.sources.one.first_ids is 0, expected 1 or more, or null"),
    ],
)
def test_wrong_choices_are_named(one, sources, target, message):
    complete = sources and {name: {"layout": one, **source} for name, source in sources.items()}
    with pytest.raises(DataError, match=message):
        Pool("both", complete, target=target)


def test_camera_distances_are_the_targets(one, quickstart_veri):
    veri = VeRi776(quickstart_veri, "veri")
    sources = {"one": {"layout": one}, "veri": {"layout": veri}}
    assert Pool("both", sources, target="veri").camera_distances().equals(veri.camera_distances())
    assert Pool("both", sources, target="one").camera_distances() is None
    assert Pool("both", sources).camera_distances() is None


def test_a_source_that_adds_nothing_is_refused(one, tmp_path):
    only_test = write(tmp_path, "two", "path,vehicle_id,split\na.jpg,3,test\n")
    sources = {"one": {"layout": one}, "two": {"layout": only_test}}
    with pytest.raises(DataError, match=r"'two' .* has no images to train on; pass data\.sources\.two\.use=all"):
        Pool("both", sources, target="one").read()


def test_other_keys_of_a_data_set_are_no_business_of_the_pool(one):
    pool = Pool("one", {"one": {"layout": one, "tasks": ["image_to_image"], "ap": "standard", "root": "x"}})
    assert len(pool.read()) == 3
    assert Source(one).use == "train"
