import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.data.table import COLUMNS, DataError, fingerprint, image_path, known, make_table, training_records


def small(**columns) -> pd.DataFrame:
    return make_table("root", "set", {"path": ["a/1.jpg", "b/2.jpg"], "split": ["train", "test"], **columns})


def test_missing_columns_are_filled_with_unknown():
    table = small(vehicle_id=[3, 4])
    assert list(table.columns) == list(COLUMNS)
    assert table.index.equals(pd.RangeIndex(2))
    for name, empty in COLUMNS.items():
        if name in ("root", "path", "dataset", "split", "vehicle_id"):
            assert known(table, name).all()
        else:
            assert not known(table, name).any()
            assert table[name].to_list() == pytest.approx([empty, empty], nan_ok=True)
    assert table["vehicle_id"].dtype == np.int64
    assert table["timestamp"].dtype == np.float64


def test_known_marks_single_values():
    table = small(timestamp=[0.0, np.nan], colour=["", "red"], camera_id=[-1, 0])
    assert known(table, "timestamp").tolist() == [True, False]
    assert known(table, "colour").tolist() == [False, True]
    assert known(table, "camera_id").tolist() == [False, True]


def test_what_is_trained_on_beside_the_tested_data_set_says_nothing_about_the_test():
    columns = {"path": list("abcd"), "vehicle_id": [5, -1, 5, 6], "split": ["train", "train", "train", "query"]}
    tested = make_table("root", "tested", columns)
    other = make_table("root", "other", {"path": list("ef"), "vehicle_id": [5, 6], "split": "train"})
    assert training_records(tested)["path"].tolist() == ["a", "c"]
    assert training_records(other)["path"].tolist() == ["e", "f"]  # it may be tested elsewhere
    assert training_records(pd.concat([other, tested], ignore_index=True))["path"].tolist() == ["a", "c"]
    assert training_records(pd.concat([other, tested[:3]], ignore_index=True)).empty


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"paht": ["x", "y"]}, "unknown column 'paht'"),
        ({"vehicle_id": [1]}, "'vehicle_id' has 1 values, expected 2"),
        ({"vehicle_id": [1, 2.5]}, "'vehicle_id' must hold int64 values"),
        ({"timestamp": ["noon", 1]}, "'timestamp' must hold float64 values"),
        ({"split": ["train", "val"]}, "'split' holds 'val', expected one of 'train', 'query', 'gallery', 'test'"),
        ({"domain": ["day", "dusk"]}, "'domain' holds 'dusk'"),
        ({"path": [], "split": []}, "name no image at all"),
    ],
)
def test_wrong_columns_are_refused(columns, message):
    with pytest.raises(DataError, match=message):
        small(**columns)


def test_path_and_split_are_required():
    with pytest.raises(DataError, match="the column 'split' is missing"):
        make_table("root", "set", {"path": ["a"]})


def test_fingerprint_changes_with_any_value_and_with_order_but_not_with_the_root():
    values = {
        "vehicle_id": [1, 2],
        "camera_id": [1, 1],
        "track_id": [0, 0],
        "timestamp": [0.5, np.nan],
        "domain": ["day", "night"],
        "colour": ["red", "red"],
        "type": ["bus", "bus"],
        "view": ["front", "front"],
        "box": ["0 0 1 1", ""],
        "mask": ["m.png", ""],
    }
    table = small(**values)
    seen = {fingerprint(table)}
    assert fingerprint(table.assign(root="elsewhere")) in seen
    changed = {
        "path": "z",
        "vehicle_id": 9,
        "camera_id": 9,
        "track_id": 9,
        "timestamp": 9.0,
        "domain": "night",
        "colour": "blue",
        "type": "van",
        "view": "side",
        "box": "1 1 2 2",
        "mask": "n.png",
        "dataset": "other",
        "split": "gallery",
    }
    for name, value in changed.items():
        other = table.copy()
        other.loc[0, name] = value
        seen.add(fingerprint(other))
    seen.add(fingerprint(table.iloc[::-1].reset_index(drop=True)))
    assert len(seen) == len(changed) + 2


def test_fingerprint_does_not_confuse_neighbouring_texts():
    one = small(path=["ab", "c"])
    other = small(path=["a", "bc"])
    assert fingerprint(one) != fingerprint(other)


def test_fingerprint_is_the_documented_hash_on_every_machine():
    table = small()
    digest = hashlib.sha256()
    for name, empty in COLUMNS.items():
        if name in ("root", "view"):  # views, if none is known, are left out
            continue
        if isinstance(empty, str):
            content = "\0".join(table[name]).encode()
        else:
            dtype = "<i8" if isinstance(empty, int) else "<f8"
            content = b"".join(np.array(value, dtype=dtype).tobytes() for value in table[name])
        digest.update(f"{name}:{len(content)}:".encode() + content)
    assert fingerprint(table) == digest.hexdigest()[:16]


def test_image_path_joins_root_and_posix_path():
    table = small(mask=["", "m/2.png"])
    assert image_path(table, 0) == Path("root") / "a" / "1.jpg"
    assert image_path(table, 1, "mask") == Path("root") / "m" / "2.png"
