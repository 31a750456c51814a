import math
from dataclasses import replace
from pathlib import Path

import pytest

from src.data.layouts import CSV
from src.data.table import DataError, known

FULL = (
    "path,vehicle_id,split,camera_id,track_id,timestamp,domain,colour,type,view,box,mask\r\n"
    'a/1.jpg, 7 ,train,1,2,3.5,day,red,bus,front,1 2 3 4,"m,1.png"\r\n'
    "\r\n"
    "b.jpg,-1,gallery,,,,,,,,,\r\n"
)


def write(root: Path, text: str, images=("a/1.jpg", "b.jpg", "m,1.png")) -> CSV:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    (root / "table.csv").write_bytes(text.encode("utf-8-sig"))
    return CSV(root, "mine")


def test_reads_every_column(tmp_path):
    table = write(tmp_path, FULL).read()
    first = table.iloc[0].to_dict()
    assert first == {
        "root": str(tmp_path),
        "path": "a/1.jpg",
        "vehicle_id": 7,
        "camera_id": 1,
        "track_id": 2,
        "timestamp": 3.5,
        "domain": "day",
        "colour": "red",
        "type": "bus",
        "view": "front",
        "box": "1 2 3 4",
        "mask": "m,1.png",
        "dataset": "mine",
        "split": "train",
    }
    assert not any(known(table, name)[1] for name in CSV.provides)
    assert math.isnan(table["timestamp"][1])
    assert table["vehicle_id"][1] == -1


def test_one_image_may_have_several_boxes(tmp_path):
    text = "path,vehicle_id,split,box\nb.jpg,1,train,0 0 2 2\nb.jpg,2,train,2 2 4 4\n"
    assert write(tmp_path, text).read()["vehicle_id"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,vehicle_id,split,color\n", "unknown column 'color', known are .*; did you mean 'colour'?"),
        ("path,vehicle_id,split,xyz\n", "unknown column 'xyz', .*; rename or remove it"),
        ("path,vehicle_id\nb.jpg,1\n", "lacks the column 'split', found path, vehicle_id; add it"),
        ("path,vehicle_id,split,split\n", "a column twice"),
        ("", "lacks the column 'path'"),
        ("path,vehicle_id,split\n", "name no image at all"),
        (
            "path,vehicle_id,split\nb.jpg,1,train\n\nb2.jpg,1,val\n",
            r"line 4 of .* has split 'val', expected one of train",
        ),
        (
            "path,vehicle_id,split\nb.jpg,car,train\n",
            "line 2 of .* has vehicle_id 'car', expected an integer.*data.layout.number_ids=true",
        ),
        ("path,vehicle_id,split,camera_id\nb.jpg,1,train,north\n", "has camera_id 'north', .*number_ids=true"),
        ("path,vehicle_id,split\nb.jpg,9223372036854775808,train\n", "'9223372036854775808', .* at most 9,223,372,036"),
        ("path,vehicle_id,split\nb.jpg,-1,train\n", "vehicle_id '-1', but a training image needs"),
        ("path,vehicle_id,split\nb.jpg,1,test\nb.jpg,1,test\n", "line 3 of .* has path 'b.jpg', which an earlier line"),
        ("path,vehicle_id,split\nb.jpg,1\n", "line 2 of .* has 2 fields, expected 3: path, vehicle_id, split"),
        ("path,vehicle_id,split\n,1,train\n", "line 2 of .* has path '', expected the path of an image"),
        ("path,vehicle_id,split\n/b.jpg,1,train\n", "has path '/b.jpg', expected a path below"),
        ("path,vehicle_id,split\na\\1.jpg,1,train\n", "expected a path below .* with forward slashes"),
        ("path,vehicle_id,split,box\nb.jpg,1,train,1 2 3\n", "has box '1 2 3', expected four integers"),
        ("path,vehicle_id,split,domain\nb.jpg,1,train,Day\n", "has domain 'Day', expected day or night or nothing"),
        ("path,vehicle_id,split,timestamp\nb.jpg,1,train,noon\n", "has timestamp 'noon', expected a number or nothing"),
        ("path,vehicle_id,split,mask\nb.jpg,1,train,n.png\n", r"1 of 1 listed files .*\(n\.png\)"),
        ("path,vehicle_id,split\nc.jpg,1,train\n", r"1 of 1 listed files .*\(c\.jpg\)"),
        ('path,vehicle_id,split\n"b.jpg,1,train\n', "is no UTF-8 CSV file"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        write(tmp_path, text).read()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_of_spreadsheets(tmp_path, separator):
    plain = FULL.replace('"m,1.png"', "m1.png")
    expected = write(tmp_path, plain, images=("a/1.jpg", "b.jpg", "m1.png")).read()
    assert write(tmp_path, plain.replace(",", separator)).read().equals(expected)
    assert write(tmp_path, f"path{separator}vehicle_id{separator}split\n").file == "table.csv"
    with pytest.raises(DataError, match="lacks the column 'split', found path, vehicle_id"):
        write(tmp_path, f"path{separator}vehicle_id\n").read()


def test_ids_of_19_digits(tmp_path):
    largest = 2**63 - 1
    text = f"path,vehicle_id,split,camera_id\nb.jpg,{largest},train,1234567890123456789\na/1.jpg,{-largest},gallery,\n"
    table = write(tmp_path, text).read()
    assert table["vehicle_id"].tolist() == [largest, -largest]
    assert table["camera_id"].tolist() == [1234567890123456789, -1]


def test_names_are_numbered_on_request(tmp_path):
    rows = ["b.jpg,taxi 7,train,north,5", "a/1.jpg,-1,gallery,,6", "c.jpg,bus,test,south,", "d.jpg,taxi 7,test,north,7"]
    text = "path,vehicle_id,split,camera_id,track_id\n" + "\n".join(rows)
    layout = write(tmp_path, text, images=("a/1.jpg", "b.jpg", "c.jpg", "d.jpg"))
    table = replace(layout, number_ids=True).read()
    assert table["vehicle_id"].tolist() == [1, -1, 0, 1]
    assert table["camera_id"].tolist() == [0, -1, 1, 0]
    assert table["track_id"].tolist() == [5, 6, -1, 7]  # numbers stay as they are
    with pytest.raises(DataError, match="number_ids=true"):
        layout.read()
    nobody = write(tmp_path, "path,vehicle_id,split\nb.jpg,-1,train\na/1.jpg,car,train\n")
    with pytest.raises(DataError, match="but a training image needs"):
        replace(nobody, number_ids=True).read()
    empty = write(tmp_path, "path,vehicle_id,split\nb.jpg,,train\na/1.jpg,car,train\n")
    with pytest.raises(DataError, match="vehicle_id '', expected an integer"):
        replace(empty, number_ids=True).read()


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"table\.csv is missing"):
        CSV(tmp_path, "mine").read()
    with pytest.raises(DataError, match="nowhere is no folder"):
        CSV(tmp_path / "nowhere", "mine").read()
    (tmp_path / "table.csv").write_bytes("path,vehicle_id,split\nfür.jpg,1,train\n".encode("latin-1"))
    with pytest.raises(DataError, match="is no UTF-8 CSV file"):
        CSV(tmp_path, "mine").read()
