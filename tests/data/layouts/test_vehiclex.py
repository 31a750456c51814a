from pathlib import Path

import pytest

from src.data.layouts import VehicleX
from src.data.table import DataError

ITEMS = [
    ("0005_c001_1.jpg", "0005", "c001", 0, 0),
    ("0005_c012_2.jpg", "0005", "c012", 9, 8),
    ("00012_c003_1.jpg", "0012", "c003", 11, 10),
    ("0002_c003_7.jpg", "0002", "c003", 10, 9),
]


def xml(encoding: str) -> bytes:
    items = "".join(
        f'<Item imageName="{image}" vehicleID="{vehicle}" cameraID="{camera}" colorID="{colour}" typeID="{kind}" '
        'orientation="161.2" lightInt="0.9" lightDir="41" camHei="4.3" camDis="9" />\r\n'
        for image, vehicle, camera, colour, kind in ITEMS
    )
    text = f'<?xml version="1.0" encoding="{encoding}"?>\r\n<TrainingImages Version="1.0">\r\n<Items number="-">\r\n'
    return f"{text}{items}</Items>\r\n</TrainingImages>\r\n".encode(encoding)


@pytest.fixture(params=[("image_train", "utf-8"), ("sys_image_train", "gb2312")])
def root(tmp_path, request) -> Path:
    folder, encoding = request.param
    (tmp_path / folder).mkdir()
    for image, *_ in ITEMS:
        (tmp_path / folder / image).touch()
    (tmp_path / "train_label.xml").write_bytes(xml(encoding))
    return tmp_path


def test_reads_the_labels_with_0_based_colours_and_types(root):
    table = VehicleX(root, "vehiclex").read()
    folder = "image_train" if (root / "image_train").is_dir() else "sys_image_train"
    assert table["path"].tolist() == [f"{folder}/{image}" for image, *_ in ITEMS]
    assert table["vehicle_id"].tolist() == [5, 5, 12, 2]
    assert table["camera_id"].tolist() == [1, 12, 3, 3]
    assert table["colour"].tolist() == ["yellow", "black", "pink", "purple"]
    assert table["type"].tolist() == ["sedan", "estate", "RV", "sportscar"]
    assert (table["split"] == "train").all()


def test_the_first_identities_are_those_with_the_lowest_numbers(root):
    assert VehicleX(root, "vehiclex", first_ids=2).read()["vehicle_id"].tolist() == [5, 5, 2]
    assert len(VehicleX(root, "vehiclex", first_ids=99).read()) == 4
    with pytest.raises(DataError, match="first_ids is 0, expected at least 1"):
        VehicleX(root, "vehiclex", first_ids=0)


def test_the_folder_of_images_is_a_choice(root):
    (root / "sys_image_train_tr").mkdir()
    for image, *_ in ITEMS:
        (root / "sys_image_train_tr" / image).touch()
    paths = VehicleX(root, "vehiclex", folder="sys_image_train_tr").read()["path"].tolist()
    assert paths == [f"sys_image_train_tr/{image}" for image, *_ in ITEMS]
    with pytest.raises(DataError, match=r"has no folder images; .*data\.layout\.folder="):
        VehicleX(root, "vehiclex", folder="images").read()


def test_missing_files_are_named(root):
    next(root.glob("*image_train/0002_c003_7.jpg")).unlink()
    with pytest.raises(DataError, match=r"1 of 4 listed files .*image_train/0002_c003_7\.jpg"):
        VehicleX(root, "vehiclex").read()
    (root / "train_label.xml").unlink()
    with pytest.raises(DataError, match=r"train_label\.xml is missing"):
        VehicleX(root, "vehiclex").read()
    with pytest.raises(DataError, match="nowhere is no folder"):
        VehicleX(root / "nowhere", "vehiclex").read()
