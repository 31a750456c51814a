"""Lists as they lie on people's disks, without the images: read, counted, and asked which images they want."""

import json
from pathlib import Path

import numpy as np
import pytest

from src.data.check.findings import check
from src.data.layouts import CityFlow, CompCars, DayNight, VehicleID, VehicleX, VeRi776, VeriWild, VeriWild2


def lines(root: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    """A file with the line ends of Windows and a space before them, as most lists have."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(f"{line} \r\n" for line in text.splitlines()).encode(encoding))


def labels(images: dict[str, tuple[int, int]], declared: str = "gb2312", more: str = "") -> str:
    items = "\n".join(
        f'<Item imageName="{image}" vehicleID="{vehicle:04}" cameraID="c{camera:03}"{more}/>'
        for image, (vehicle, camera) in images.items()
    )
    return (
        f'<?xml version="1.0" encoding="{declared}"?>\n<!-- 车辆 -->\n<TrainingImages Version="1.0">\n'
        f'<Items number="-">\n{items}\n</Items>\n</TrainingImages>'
    )


def wanted(layout) -> list[str]:
    """What a check of the lists alone says is wanted, below the root."""
    (found,) = [finding for finding in check(layout, images=False).findings if finding.name == "wanted_images"]
    assert not found.problem
    return [item.removeprefix(f"{layout.root}/") for item in found.items]


def test_veri_wild_as_first_handed_out(tmp_path):
    lines(tmp_path, "train_test_split/train_list.txt", "00001/000001\n00001/000002\n31388/321973")
    lines(tmp_path, "train_test_split/test_3000_query.txt", "00402/000009")
    lines(tmp_path, "train_test_split/test_3000.txt", "00402/000010\n00402/000011")
    info = "id/image;Camera ID;Time;Model;Type;Color\n00402/000009;3;2018-03-14 17:04:10;大众 朗逸;sedan;白色"
    lines(tmp_path, "train_test_split/vehicle_info.txt", info, "gb18030")
    images = ["00001/000001", "00001/000002", "31388/321973", "00402/000009", "00402/000010", "00402/000011"]
    assert wanted(VeriWild(tmp_path, "veri_wild")) == [f"images/{image}.jpg" for image in images]


def test_veri_wild_2(tmp_path):
    lines(tmp_path, "test_split/A_query.txt", "query_final/1.jpg 3")
    lines(tmp_path, "test_split/A_gallery.txt", "gallery_final/2 3")
    assert wanted(VeriWild2(tmp_path, "w", test_set="A")) == ["query/query_final/1.jpg", "gallery/gallery_final/2.jpg"]


@pytest.mark.parametrize("with_numbers", [True, False])
def test_cityflow_of_2019(tmp_path, with_numbers, caplog):
    """Every line of train_track.txt lacks its last image, so that some are empty; the numbers are complete."""
    images = {f"{number:06}.jpg": (number // 3 + 1, number % 4 + 1) for number in range(1, 10)}
    for part, names in (("train", images), ("query", ["000001.jpg"]), ("test", ["000001.jpg", "000002.jpg"])):
        lines(tmp_path, f"name_{part}.txt", "\n".join(names))
    lines(tmp_path, "train_label.xml", labels(images), "gb2312")
    lines(tmp_path, "train_track.txt", "000001.jpg 000002.jpg\n\n000005.jpg 000006.jpg 000007.jpg")
    if with_numbers:
        lines(tmp_path, "train_track_id.txt", "1 2 3\n4\n5 6 7 8")
    lines(tmp_path, "test_track.txt", "0001_c001_t1 000001.jpg\n0002_c001_t2 000002.jpg")
    layout = CityFlow(tmp_path, "cityflow")
    assert len(wanted(layout)) == 9 + 1 + 2
    if with_numbers:
        assert "train_track_id.txt gives 8 images a track and train_track.txt 5" in caplog.text
    without = 1 if with_numbers else 4
    assert f"{without} of 9 images in image_train have no track" in caplog.text


@pytest.mark.parametrize("form", ["text", "json"])
def test_vehicle_id(tmp_path, form):
    for name, pairs in (("train_list", {"0000001": 7, "0000002": 7}), ("test_list_800", {"0000011": 3, "0000012": 3})):
        if form == "json":
            lines(tmp_path, f"train_test_split/{name}.json", json.dumps(pairs))
        else:
            text = "\n".join(f"{image} {vehicle}" for image, vehicle in pairs.items())
            lines(tmp_path, f"train_test_split/{name}.txt", text)
    assert wanted(VehicleID(tmp_path, "vehicleid_800")) == [
        f"image/00000{number}.jpg" for number in ("01", "02", 11, 12)
    ]


@pytest.mark.parametrize("declared", ["gb2312", "utf-8"])
def test_veri_776(tmp_path, declared):
    train = {"0001_c001_00016450_0.jpg": (1, 1)}
    query = {"0002_c002_00030600_0.jpg": (2, 2)}
    test = {**query, "0002_c003_00030700_0.jpg": (2, 3), "0002_c003_00030705_0.jpg": (2, 3)}
    for part, images in (("train", train), ("query", query), ("test", test)):
        lines(tmp_path, f"name_{part}.txt", "\n".join(images))
    lines(tmp_path, "train_label.xml", labels(train, declared, ' colorID="4" typeID="2"'), declared)
    lines(tmp_path, "test_label.xml", labels(test, declared, ' colorID="10" typeID="8"'), declared)
    first, *others = test
    lines(tmp_path, "test_track_VeRi.txt", f"0002_c002_t00030600 {first}\n0002_c003_t00030700 {' '.join(others)}")
    triangle = np.triu(np.arange(400).reshape(20, 20), 1)
    lines(tmp_path, "camera_Dist.txt", "\n".join(" ".join(map(str, row)) for row in triangle))
    layout = VeRi776(tmp_path, "veri776")
    folders = ("train", train), ("query", query), ("test", test)
    assert wanted(layout) == [f"image_{part}/{image}" for part, images in folders for image in images]
    report = check(layout, images=False)
    assert [side.found[:3] for side in report.sides] == [(1, 1, 1), (1, 1, 1), (3, 1, 2)]
    distances = layout.camera_distances()
    assert distances.shape == (20, 20)
    assert (distances.to_numpy() == triangle + triangle.T).all()


def test_day_and_night(tmp_path):
    for domain in ("day", "night"):
        lines(tmp_path, f"train_test_split/train_list_{domain}.txt", "00834/000.jpg x\n00834/001.jpg x")
        lines(tmp_path, f"train_test_split/test_list_{domain}.txt", "00011/000.jpg 0 1")
    paths = ["00834/000.jpg", "00834/001.jpg", "00011/000.jpg"]
    assert sorted(wanted(DayNight(tmp_path, "dn_348"))) == sorted(
        f"{d}/{path}" for d in ("day", "night") for path in paths
    )


def test_training_sets(tmp_path):
    lines(tmp_path / "x", "train_label.xml", labels({"0001_c001_33.jpg": (1, 1)}))
    assert wanted(VehicleX(tmp_path / "x", "vehiclex")) == ["image_train/0001_c001_33.jpg"]
    lines(tmp_path / "cars", "split/train.txt", "78/1/2014/3ac218c0c6c378.jpg")
    lines(tmp_path / "cars", "label/78/1/2014/3ac218c0c6c378.txt", "1\n1\n10 20 300 200")
    cars = CompCars(tmp_path / "cars", "compcars", lists=["split/train.txt"])
    assert wanted(cars) == ["image/78/1/2014/3ac218c0c6c378.jpg"]
