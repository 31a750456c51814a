from pathlib import Path

import numpy as np
import pytest

from src.data.layouts import VeriWild, VeriWild2
from src.data.protocols import build_tasks
from src.data.table import DataError

TRAIN = ["00001/000001.jpg", "00001/000002.jpg", "00007/000003.jpg"]
QUERY = ["30001/000010.jpg", "30002/000020.jpg"]
GALLERY = ["30001/000011.jpg", "30002/000021.jpg", "30002/000020.jpg", "30002/000022.jpg"]
TEST = [*QUERY, GALLERY[0], GALLERY[1], GALLERY[3]]
INFO = [  # of all images but the last
    ("00001/000001", 5, "2018-03-14 17:04:10", "大众 朗逸", "sedan", "白色"),
    ("00001/000002", 6, "2018-03-14 17:05:10", "大众 朗逸", "sedan", "白色"),
    ("00007/000003", 6, "", "", "SUV", ""),
    ("30001/000010", 1, "2018-03-15 00:00:00", "Toyota", "SUV", "red"),
    ("30002/000020", 2, "1970-01-01 00:00:01", "Toyota", "SUV", "red"),
    ("30001/000011", 3, "1970-01-01 00:00:02", "Toyota", "SUV", "red"),
    ("30002/000021", 2, "no time", "Toyota", "SUV", "red"),
]
CAMERAS = [5, 6, 6, 1, 2, 3, 2, 174]


def fill(root: Path, train: str, query: str, gallery: str, labels: bool) -> None:
    (root / "train_test_split").mkdir()
    cameras = dict(zip([*TRAIN, *TEST], CAMERAS, strict=True))
    for name, images in ((train, TRAIN), (query, QUERY), (gallery, GALLERY)):
        ends = [f" {number} {cameras[image]} " if labels else " " for number, image in enumerate(images)]
        text = "".join(f"{image}{end}\r\n" for image, end in zip(images, ends, strict=True))
        (root / "train_test_split" / name).write_bytes(text.encode())
        for image in images:
            (root / "images" / image).parent.mkdir(parents=True, exist_ok=True)
            (root / "images" / image).touch()
    lines = ["id/image;Camera ID;Time;Model;Type;Color", *(";".join(map(str, line)) for line in INFO), ""]
    (root / "train_test_split" / "vehicle_info.txt").write_bytes("\r\n".join(lines).encode("gb18030"))


@pytest.fixture
def old(tmp_path) -> Path:
    fill(tmp_path, "train_list.txt", "test_3000_query.txt", "test_3000.txt", labels=False)
    return tmp_path


@pytest.fixture
def new(tmp_path) -> Path:
    fill(tmp_path, "train_list_start0.txt", "test_5000_id_query.txt", "test_5000_id.txt", labels=True)
    return tmp_path


def test_reads_lists_and_vehicle_info(old):
    table = VeriWild(old, "wild").read()
    assert table["path"].tolist() == [f"images/{image}" for image in [*TRAIN, *TEST]]
    assert table["vehicle_id"].tolist() == [1, 1, 7, 30001, 30002, 30001, 30002, 30002]
    assert table["split"].tolist() == ["train"] * 3 + ["query", "test"] + ["gallery"] * 3
    assert table["camera_id"].tolist() == [5, 6, 6, 1, 2, 3, 2, -1]
    assert table["timestamp"][1] - table["timestamp"][0] == 60
    assert table["timestamp"][4:6].tolist() == [1, 2]
    assert np.isnan(table["timestamp"][[2, 6, 7]]).all()
    assert table["colour"].tolist() == ["白色", "白色", "", "red", "red", "red", "red", ""]
    assert table["type"].tolist() == ["sedan"] * 2 + ["SUV"] * 5 + [""]


@pytest.mark.parametrize("lists", [["train_list.txt", "test_3000.txt", "test_3000_query.txt"], ["test_3000_query.txt"]])
def test_the_first_lists_have_no_endings(old, lists):
    """31388/321973: only later copies carry .jpg, and some copies are of both kinds."""
    expected = VeriWild(old, "wild").read()
    for name in lists:
        file = old / "train_test_split" / name
        file.write_bytes(file.read_bytes().replace(b".jpg", b""))
    assert VeriWild(old, "wild").read().equals(expected)
    assert expected["camera_id"].tolist() == [5, 6, 6, 1, 2, 3, 2, -1]


def test_the_newer_lists_name_cameras_too(new):
    table = VeriWild(new, "wild", test_ids=5000).read()
    assert table["camera_id"].tolist() == CAMERAS
    assert [task.protocol.ignore for task in build_tasks(table, ["image_to_image"])] == ["same_camera"]
    (new / "train_test_split" / "vehicle_info.txt").unlink()
    without = VeriWild(new, "wild", test_ids=5000).read()
    assert without["camera_id"].tolist() == CAMERAS
    assert without["colour"].unique().tolist() == [""]


def test_without_any_cameras_the_rule_of_the_data_set_cannot_be_kept(old):
    (old / "train_test_split" / "vehicle_info.txt").unlink()
    with pytest.raises(DataError, match=r"vehicle_info\.txt is missing and the lists have no cameras"):
        VeriWild(old, "wild").read()


def test_wrong_files_of_veri_wild_are_named(old):
    with pytest.raises(DataError, match=r"has no list test_5000_query\.txt or test_5000_id_query\.txt"):
        VeriWild(old, "wild", test_ids=5000).read()
    (old / "images" / TRAIN[0]).unlink()
    with pytest.raises(DataError, match=r"1 of 8 listed files .*\(images/00001/000001\.jpg\)"):
        VeriWild(old, "wild").read()
    info = old / "train_test_split" / "vehicle_info.txt"
    info.write_text("id/image;Camera ID;Time;Model;Type;Color\n00001/000001;x;;;;\n")
    with pytest.raises(DataError, match=r"line 2 of .*vehicle_info\.txt is '00001/000001;x;;;;', expected <vehicle>"):
        VeriWild(old, "wild").read()
    train = old / "train_test_split" / "train_list.txt"
    for line in ("000001.jpg", "car/000001.jpg", "00001/000001.jpg 5", "00001/000001.jpg 0 c5"):
        train.write_text(f"{TRAIN[0]}\n\n{line}\n")
        with pytest.raises(
            DataError, match=rf"line 3 of .*train_list\.txt is '{line}', expected <vehicle number>/<image>"
        ):
            VeriWild(old, "wild").read()
    train.write_text(f"{TRAIN[0]}\n{GALLERY[1]}\n{QUERY[0]}\n")
    with pytest.raises(DataError, match=r"2 images are listed for training and for testing, images/30001/000010\.jpg"):
        VeriWild(old, "wild").read()
    with pytest.raises(DataError, match="nowhere is no folder"):
        VeriWild(old / "nowhere", "wild").read()


def fill_2(root: Path, folders: dict[str, str], cameras: bool = False) -> None:
    (root / "test_split").mkdir()
    for part, images in (("query", ["a.jpg 3", "b.jpg 4"]), ("gallery", ["c.jpg 3", "d.jpg 4", "e.jpg 5"])):
        camera = " 17" if cameras else ""
        listed, folder = folders[part].split(":")
        text = "".join(f"{listed}{image}{camera} \r\n" for image in images)
        (root / "test_split" / f"A_{part}.txt").write_bytes(text.encode())
        (root / folder).mkdir(parents=True)
        for image in images:
            (root / folder / image.split()[0]).touch()


@pytest.mark.parametrize(
    "folders",
    [
        {"query": "query_final/:query/query_final", "gallery": "gallery_final/:gallery/gallery_final"},
        {"query": "query_final/:query/query/query_final", "gallery": "gallery_final/:gallery/gallery/gallery_final"},
        {"query": ":query/query_final", "gallery": ":gallery/gallery/gallery_final"},
        {"query": "query/query_final/:query/query_final", "gallery": "gallery/gallery_final/:gallery/gallery_final"},
    ],
)
def test_veri_wild_2_wherever_its_paths_start(tmp_path, folders):
    fill_2(tmp_path, folders)
    table = VeriWild2(tmp_path, "wild2", test_set="A").read()
    query, gallery = (folders[part].split(":")[1] for part in ("query", "gallery"))
    assert table["path"].tolist() == [
        *(f"{query}/{name}.jpg" for name in "ab"),
        *(f"{gallery}/{name}.jpg" for name in "cde"),
    ]
    assert table["vehicle_id"].tolist() == [3, 4, 3, 4, 5]
    assert table["split"].tolist() == ["query"] * 2 + ["gallery"] * 3
    assert (table["camera_id"] == -1).all()


def test_veri_wild_2_without_endings(tmp_path):
    fill_2(tmp_path, {"query": "query_final/:query/query_final", "gallery": "gallery_final/:gallery/gallery_final"})
    expected = VeriWild2(tmp_path, "wild2", test_set="A").read()
    for part in ("query", "gallery"):
        file = tmp_path / "test_split" / f"A_{part}.txt"
        file.write_bytes(file.read_bytes().replace(b".jpg", b""))
    assert VeriWild2(tmp_path, "wild2", test_set="A").read().equals(expected)


def test_veri_wild_2_in_capitals(tmp_path):
    fill_2(tmp_path, {"query": "query_final/:query/query/query_final", "gallery": ":gallery/gallery_final"})
    for image in [*tmp_path.rglob("*.jpg")]:
        image.rename(image.with_suffix(".JPG"))
    paths = VeriWild2(tmp_path, "wild2", test_set="A").read()["path"].tolist()
    assert paths[0] == "query/query/query_final/a.JPG"
    assert paths[-1] == "gallery/gallery_final/e.JPG"


def test_veri_wild_2_with_cameras_and_the_training_images_of_veri_wild(new):
    fill_2(new, {"query": "query_final/:query/query_final", "gallery": "gallery_final/:gallery/gallery_final"}, True)
    table = VeriWild2(new, "wild2", test_set="A").read()
    assert table["path"].tolist()[:4] == [*(f"images/{image}" for image in TRAIN), "query/query_final/a.jpg"]
    assert table["camera_id"].tolist() == [5, 6, 6] + [17] * 5
    assert table["split"].tolist() == ["train"] * 3 + ["query"] * 2 + ["gallery"] * 3


def test_wrong_files_of_veri_wild_2_are_named(tmp_path):
    fill_2(tmp_path, {"query": "query_final/:query/query_final", "gallery": "gallery_final/:gallery/gallery_final"})
    with pytest.raises(DataError, match=r"data\.layout\.test_set is 'C', expected one of All, A, B"):
        VeriWild2(tmp_path, "wild2", test_set="C")
    with pytest.raises(DataError, match=r"the list .*All_query\.txt is missing"):
        VeriWild2(tmp_path, "wild2").read()
    (tmp_path / "gallery/gallery_final/e.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 5 listed files .*\(gallery/gallery_final/e\.jpg\)"):
        VeriWild2(tmp_path, "wild2", test_set="A").read()
    (tmp_path / "test_split" / "A_query.txt").write_text("query_final/a.jpg\n")
    with pytest.raises(DataError, match=r"line 1 of .*A_query\.txt is 'query_final/a\.jpg', expected <path> <vehicle"):
        VeriWild2(tmp_path, "wild2", test_set="A").read()
