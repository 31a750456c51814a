import shutil
from pathlib import Path

import pytest

from src.data.layouts import DayNight
from src.data.table import DataError

TRAIN = {"day": ["00002/000.jpg", "00002/001.jpg", "00007/000.jpg"], "night": ["00002/000.jpg", "00007/003.jpg"]}
TEST = {"day": ["00011/000.jpg", "00011/001.jpg"], "night": ["00011/000.jpg", "00012/000.jpg"]}
NAMINGS = {
    "authors": ("{split}_list_{domain}.txt", "{domain}"),
    "code": ("{domain}_{split}.txt", "{domain}"),
    "readme": ("{split}_{domain}.txt", "{part}_{domain}"),
}


def write_set(root: Path, naming: str = "authors", query: dict[str, list[str]] | None = None) -> None:
    pattern, folders = NAMINGS[naming]
    (root / "train_test_split").mkdir()
    for split, lists in (("train", TRAIN), ("test", TEST), ("query", query or {})):
        for domain, paths in lists.items():
            folder = root / folders.format(part="train" if split == "train" else "test", domain=domain)
            for path in paths:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).touch()
            # CRLF, trailing spaces and further fields, as in the wild.
            lines = "".join(f"{path} {n} \r\n" if n % 2 else f"{path}  \r\n" for n, path in enumerate(paths))
            name = pattern.format(split=split, domain=domain)
            (root / "train_test_split" / name).write_bytes(lines.encode())


def splits(table) -> dict[str, str]:
    return dict(zip(table["path"], table["split"], strict=True))


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_gives_the_listed_records(tmp_path, naming):
    write_set(tmp_path, naming)
    table = DayNight(tmp_path, "tiny").read()
    expected = set()
    for split, lists in (("train", TRAIN), ("test", TEST)):
        for domain, paths in lists.items():
            folder = NAMINGS[naming][1].format(part=split, domain=domain)
            expected |= {(f"{folder}/{path}", int(path[:5]), domain, split, "tiny") for path in paths}
    columns = ["path", "vehicle_id", "domain", "split", "dataset"]
    assert set(table[columns].itertuples(index=False, name=None)) == expected
    assert len(table) == len(expected)
    assert (table[["camera_id", "track_id"]] == -1).all(axis=None)


def test_lists_without_endings(tmp_path):
    write_set(tmp_path)
    expected = DayNight(tmp_path, "tiny").read()
    for file in (tmp_path / "train_test_split").iterdir():
        file.write_bytes(file.read_bytes().replace(b".jpg", b""))
    assert DayNight(tmp_path, "tiny").read().equals(expected)


def test_query_lists_make_the_other_test_images_gallery(tmp_path):
    write_set(tmp_path, query={"day": ["00011/001.jpg", "00013/000.jpg"]})
    found = splits(DayNight(tmp_path, "tiny").read())
    assert found["day/00011/000.jpg"] == "gallery"
    assert found["day/00011/001.jpg"] == "test"
    assert found["day/00013/000.jpg"] == "query"
    assert found["night/00011/000.jpg"] == found["night/00012/000.jpg"] == "test"


def test_an_image_listed_twice_counts_once(tmp_path):
    write_set(tmp_path)
    file = tmp_path / "train_test_split" / "train_list_day.txt"
    before = DayNight(tmp_path, "tiny").read()
    file.write_text(file.read_text() + "\n" + TRAIN["day"][0] + "\n")
    assert DayNight(tmp_path, "tiny").read().equals(before)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere is no folder, expected the folders day, night"):
        DayNight(tmp_path / "nowhere", "tiny").read()
    write_set(tmp_path)
    (tmp_path / "night" / "00007" / "003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 9 listed files are not in .*\(night/00007/003\.jpg\)"):
        DayNight(tmp_path, "tiny").read()
    (tmp_path / "train_test_split" / "test_list_night.txt").unlink()
    with pytest.raises(
        DataError,
        match=r"no test list for night, expected one of test_list_night\.txt, night_test\.txt, test_night\.txt",
    ):
        DayNight(tmp_path, "tiny").read()
    shutil.rmtree(tmp_path / "train_test_split")
    with pytest.raises(DataError, match="no test list for day"):
        DayNight(tmp_path, "tiny").read()


def test_an_image_for_training_and_testing_is_refused(tmp_path):
    write_set(tmp_path)
    file = tmp_path / "train_test_split" / "train_list_night.txt"
    file.write_text(file.read_text() + TEST["night"][0])
    with pytest.raises(
        DataError, match=r"1 night images are listed for training and for testing, night/00011/000\.jpg"
    ):
        DayNight(tmp_path, "tiny").read()


@pytest.mark.parametrize("line", ["car/000.jpg", "00001.jpg", "/000.jpg"])
def test_a_line_without_a_vehicle_is_named_by_number(tmp_path, line):
    write_set(tmp_path)
    (tmp_path / "train_test_split" / "test_list_day.txt").write_text(f"00011/000.jpg\n{line}\n")
    with pytest.raises(DataError, match=rf"line 2 of .*test_list_day\.txt is '{line}'"):
        DayNight(tmp_path, "tiny").read()
