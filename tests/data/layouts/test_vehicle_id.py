import json
from pathlib import Path

import pytest

from src.data.layouts import VehicleID
from src.data.protocols import build_tasks
from src.data.table import DataError

TRAIN = [("0000001", 7), ("0000002", 7), ("0000003", 12)]
TEST = [("0000011", 3), ("0000012", 3), ("0000013", 900), ("0000014", 900), ("0000015", 900)]


def lines(pairs) -> bytes:
    return "".join(f"{first} {second} \r\n" for first, second in pairs).encode()


@pytest.fixture
def root(tmp_path) -> Path:
    for folder in ("image", "train_test_split", "attribute"):
        (tmp_path / folder).mkdir()
    for image, _ in TRAIN + TEST:
        (tmp_path / "image" / f"{image}.jpg").touch()
    (tmp_path / "train_test_split" / "train_list.txt").write_bytes(lines(TRAIN))
    (tmp_path / "train_test_split" / "test_list_800.txt").write_bytes(lines(TEST))
    (tmp_path / "train_test_split" / "test_list_1600.txt").write_bytes(lines([*TEST[:2], TEST[0]]) + b"\r\n")
    (tmp_path / "attribute" / "color_attr.txt").write_bytes(lines([(7, 3), (900, 0)]))
    (tmp_path / "attribute" / "model_attr.txt").write_bytes(lines([(7, 1), (3, 0), (900, 2)]))
    (tmp_path / "attribute" / "model_names.txt").write_bytes("奥迪A6L 2012\r\n大众 朗逸\r\n本田 2011\r\n".encode("gbk"))
    return tmp_path


def test_reads_lists_and_the_attributes_that_there_are(root):
    table = VehicleID(root, "vehicleid").read()
    assert table["path"].tolist() == [f"image/{image}.jpg" for image, _ in TRAIN + TEST]
    assert table["vehicle_id"].tolist() == [7, 7, 12, 3, 3, 900, 900, 900]
    assert table["split"].tolist() == ["train"] * 3 + ["test"] * 5
    assert table["colour"].tolist() == ["red", "red", "", "", "", "black", "black", "black"]
    assert table["type"].tolist() == ["大众 朗逸"] * 2 + [""] + ["奥迪A6L 2012"] * 2 + ["本田 2011"] * 3
    assert (table["camera_id"] == -1).all()
    (task,) = build_tasks(table, ["one_gallery_image"])
    assert all((len(trial.query), len(trial.gallery)) == (3, 2) for trial in task.trials)


@pytest.mark.parametrize(
    "names",
    [
        "0 black\n1 blue\n2 gray\n3 crimson red\n",
        "black 0\r\nblue 1\r\ngray 2\r\ncrimson red 3\r\n",
        "black\nblue\ngray\ncrimson red\n",
        "3\tcrimson red\n2\tgray\n1\tblue\n0\tblack\n",
    ],
)
def test_names_of_attributes_with_their_number_before_or_behind_or_none(root, names):
    (root / "attribute" / "color_names.txt").write_text(names)
    colours = VehicleID(root, "vehicleid").read()["colour"].tolist()
    assert colours == ["crimson red"] * 2 + [""] * 3 + ["black"] * 3


def test_the_test_list_is_a_choice(root):
    table = VehicleID(root, "vehicleid", test_ids=1600).read()
    assert table.loc[table["split"] == "test", "path"].tolist() == ["image/0000011.jpg", "image/0000012.jpg"]
    (root / "train_test_split" / "test_list_1600.txt").rename(root / "train_test_split" / "test_1600.txt")
    assert VehicleID(root, "vehicleid", test_ids=1600).read().equals(table)
    with pytest.raises(
        DataError, match=r"no test_list_99\.txt or test_99\.txt, found test_1600\.txt, test_list_800\.txt"
    ):
        VehicleID(root, "vehicleid", test_ids=99).read()


@pytest.mark.parametrize(
    "content",
    [
        dict(TEST),
        {f"{image}.jpg": str(vehicle) for image, vehicle in TEST},
        [[image, vehicle] for image, vehicle in TEST],
        {"3": ["0000011", "0000012"], "900": ["0000013", "0000014.jpg", "0000015"]},
    ],
)
def test_lists_as_json_say_the_same(root, content):
    expected = VehicleID(root, "vehicleid").read()
    (root / "train_test_split" / "test_list_800.txt").unlink()
    (root / "train_test_split" / "test_list_800.json").write_text(json.dumps(content), encoding="utf-8")
    assert VehicleID(root, "vehicleid").read().equals(expected)


@pytest.mark.parametrize("content", ['{"car": 3}', "[[1, 2, 3]]", '"0000011"', '{"0000011": null}', '{"0000011": {}}'])
def test_other_json_is_refused(root, content):
    (root / "train_test_split" / "test_800.json").write_text(content)
    (root / "train_test_split" / "test_list_800.txt").unlink()
    with pytest.raises(DataError, match=r"test_800\.json holds .*, expected an image and its vehicle, or"):
        VehicleID(root, "vehicleid").read()
    (root / "train_test_split" / "test_800.json").write_text("{")
    with pytest.raises(DataError, match=r"test_800\.json is no JSON"):
        VehicleID(root, "vehicleid").read()


def test_numbers_may_come_with_their_ending(root):
    expected = VehicleID(root, "vehicleid").read()
    (root / "train_test_split" / "train_list.txt").write_bytes(lines((f"{image}.jpg", own) for image, own in TRAIN))
    assert VehicleID(root, "vehicleid").read().equals(expected)


def test_without_attributes_and_without_their_names(root):
    (root / "attribute" / "model_names.txt").unlink()
    (root / "attribute" / "color_attr.txt").unlink()
    table = VehicleID(root, "vehicleid").read()
    assert (table["colour"] == "").all()
    assert table["type"].tolist() == ["1", "1", "", "0", "0", "2", "2", "2"]


def test_wrong_files_are_named(root):
    (root / "image" / "0000003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 8 listed files are not in .*\(image/0000003\.jpg\)"):
        VehicleID(root, "vehicleid").read()
    (root / "train_test_split" / "train_list.txt").write_text("0000001 7\n0000002\n")
    with pytest.raises(DataError, match=r"line 2 of .*train_list\.txt is '0000002', expected two numbers"):
        VehicleID(root, "vehicleid").read()
    with pytest.raises(DataError, match="nowhere is no folder, expected the folders image and train_test_split"):
        VehicleID(root / "nowhere", "vehicleid").read()
