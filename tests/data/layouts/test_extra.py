from pathlib import Path

import numpy as np
import pytest

from src.data.layouts.extra import add_extra
from src.data.table import DataError, fingerprint, make_table


@pytest.fixture
def table(tmp_path):
    return make_table(
        tmp_path,
        "tiny",
        {
            "path": ["a/1.jpg", "b.jpg", "c.jpg", "c.jpg"],
            "vehicle_id": [7, -1, 9, 9],
            "split": ["train", "gallery", "train", "gallery"],
            "camera_id": [1, 2, 3, 3],
            "colour": ["red", "", "", ""],
        },
    )


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "extra.csv"
    path.write_bytes(text.encode("utf-8-sig"))
    return path


def test_fields_replace_and_empty_ones_leave(tmp_path, table):
    (tmp_path / "m.png").touch()
    before = table.copy()
    text = (
        "path,camera_id,timestamp,track_id,box,mask,colour,type,domain,vehicle_id,split\r\n"
        "c.jpg, 5 ,2.5,4,1 2 3 4,m.png,blue,bus,night,,\r\n"
        "\r\n"
        "b.jpg,,,,,,,,,11,train\r\n"
    )
    filled = add_extra(table, write(tmp_path, text), "tiny")
    assert table.equals(before)
    assert filled.loc[0].equals(before.loc[0])
    assert filled["camera_id"].tolist() == [1, 2, 5, 5]
    assert filled["vehicle_id"].tolist() == [7, 11, 9, 9]
    assert filled["split"].tolist() == ["train", "train", "train", "gallery"]
    assert filled["track_id"].tolist() == [-1, -1, 4, 4]
    assert np.array_equal(filled["timestamp"], [np.nan, np.nan, 2.5, 2.5], equal_nan=True)
    assert filled["colour"].tolist() == ["red", "", "blue", "blue"]
    for column, value in {"box": "1 2 3 4", "mask": "m.png", "type": "bus", "domain": "night"}.items():
        assert filled[column].tolist() == ["", "", value, value]
    assert filled.dtypes.equals(before.dtypes)
    assert fingerprint(filled) != fingerprint(table)


def test_a_file_without_fields_changes_nothing(tmp_path, table):
    for text in ("path,colour\n", "path\nb.jpg\n", "path,colour\nb.jpg,\n"):
        assert add_extra(table, write(tmp_path, text), "tiny").equals(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,color\nb.jpg,red\n", "unknown column 'color', .*; did you mean 'colour'?"),
        ("colour\nred\n", "lacks the column 'path', found colour; add it"),
        ("path,domain\nb.jpg,noon\n", "line 2 of .* has domain 'noon', expected day or night or nothing"),
        ("path,split\nb.jpg,val\n", "has split 'val', expected one of train"),
        ("path,vehicle_id\nb.jpg,x\n", "has vehicle_id 'x', expected an integer"),
        ("path,colour\nb.jpg,red\nb.jpg,blue\n", "line 3 of .* has path 'b.jpg', which an earlier line has too"),
        ("path\nd.jpg\nb.jpg\n1.jpg\ne.jpg\nf.jpg\n", r"4 of 5 paths .* \(d\.jpg, 1\.jpg, e\.jpg, …\); write them as"),
        ("path,mask\nb.jpg,gone.png\n", r"1 of 1 listed files .*\(gone\.png\)"),
        ("path,split\nb.jpg,train\n", "makes 1 images of unknown vehicles training images, b.jpg among them"),
        ("path,vehicle_id\na/1.jpg,-1\n", "makes 1 images of unknown vehicles training images, a/1.jpg among"),
    ],
)
def test_mistakes_are_named(tmp_path, table, text, message):
    with pytest.raises(DataError, match=message):
        add_extra(table, write(tmp_path, text), "tiny")


def test_a_missing_file_is_named(tmp_path, table):
    with pytest.raises(DataError, match=r"data\.extra is .*none\.csv, expected a CSV file"):
        add_extra(table, tmp_path / "none.csv", "tiny")


def test_a_path_that_shows_several_vehicles_is_refused(tmp_path, table):
    several = table.assign(box=["", "", "0 0 2 2", "2 2 4 4"])
    path = write(tmp_path, "path,colour\nc.jpg,red\n")
    with pytest.raises(DataError, match=r"names c\.jpg, which shows 2 vehicles in a box each"):
        add_extra(several, path, "tiny")
    path = write(tmp_path, "path,colour\nb.jpg,red\n")
    assert add_extra(several, path, "tiny")["colour"].tolist() == ["red", "red", "", ""]
