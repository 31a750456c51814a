from pathlib import Path

import pytest

from src.data.layouts import CityFlow
from src.data.protocols import build_tasks
from src.data.table import DataError

#: Image → vehicle and camera.
TRAIN = {
    "000001.jpg": (1, 2),
    "000002.jpg": (1, 2),
    "000003.jpg": (5, 1),
    "000004.jpg": (401, 1),
    "000005.jpg": (401, 1),
    "000006.jpg": (401, 7),
    "000007.jpg": (500, 7),
}
TEST = ["000001.jpg", "000002.jpg", "000010.jpg"]
QUERY = ["000001.jpg", "000002.jpg"]


def xml(items: list[str]) -> bytes:
    head = '<?xml version="1.0" encoding="gb2312"?>\r\n<!-- 车辆 -->\r\n<TrainingImages Version="1.0">\r\n'
    lines = "".join(f"<Item {item}/>\r\n" for item in items)
    return f'{head}<Items number="{len(items)}">\r\n{lines}</Items>\r\n</TrainingImages>\r\n'.encode("gb2312")


def write_train_labels(root: Path, labels: dict[str, tuple[int, int]]) -> None:
    items = [
        f'imageName="{image}" vehicleID="{vehicle:04}" cameraID="c{camera:03}"'
        for image, (vehicle, camera) in labels.items()
    ]
    (root / "train_label.xml").write_bytes(xml(items))


@pytest.fixture
def root(tmp_path) -> Path:
    """The files of 2020: lists, labels of the training images only."""
    for part, images in (("train", TRAIN), ("query", QUERY), ("test", TEST)):
        folder = tmp_path / f"image_{part}"
        folder.mkdir()
        for image in images:
            (folder / image).touch()
        (tmp_path / f"name_{part}.txt").write_bytes("".join(f"{image} \r\n" for image in reversed(images)).encode())
    write_train_labels(tmp_path, TRAIN)
    (tmp_path / "train_track.txt").write_bytes(b"000001.jpg 000002.jpg \r\n000004.jpg 000005.jpg \r\n")
    (tmp_path / "test_track.txt").write_bytes(b"000002.jpg \r\n000001.jpg 000010.jpg \r\n")
    return tmp_path


def test_reads_the_files_of_2020(root):
    table = CityFlow(root, "city").read()
    assert table["path"].tolist() == [
        *(f"image_train/{image}" for image in TRAIN),
        *(f"image_query/{image}" for image in QUERY),
        *(f"image_test/{image}" for image in TEST),
    ]
    assert table["split"].tolist() == ["train"] * 7 + ["query"] * 2 + ["gallery"] * 3
    assert table["vehicle_id"].tolist() == [1, 1, 5, 401, 401, 401, 500] + [-1] * 5
    assert table["camera_id"].tolist() == [2, 2, 1, 1, 1, 7, 7] + [-1] * 5
    assert table["track_id"].tolist() == [0, 0, -1, 1, 1, -1, -1, -1, -1, 3, 2, 3]
    assert table["timestamp"].isna().all()


def test_reads_the_files_of_2021(root):
    expected = CityFlow(root, "city").read()
    for part, images in (("query", QUERY), ("test", TEST)):
        items = [f'imageName="{image}" cameraID="c{6 + number:03}"' for number, image in enumerate(images)]
        (root / f"{part}_label.xml").write_bytes(xml(items))
    for file in root.glob("name_*.txt"):
        file.unlink()
    table = CityFlow(root, "city").read()
    assert table["camera_id"].tolist() == [2, 2, 1, 1, 1, 7, 7, 6, 7, 6, 7, 8]
    assert table.drop(columns="camera_id").equals(expected.drop(columns="camera_id"))


def test_without_any_list_of_test_images_the_folder_counts(root):
    expected = CityFlow(root, "city").read()
    (root / "name_test.txt").unlink()
    assert CityFlow(root, "city").read().equals(expected)
    for image in TEST:
        (root / "image_test" / image).unlink()
    with pytest.raises(DataError, match=r"no .*name_test\.txt and no images in .*image_test"):
        CityFlow(root, "city").read()


def test_both_kinds_of_track_files_say_the_same(root):
    expected = CityFlow(root, "city").read()
    (root / "train_track.txt").unlink()
    (root / "test_track.txt").unlink()
    (root / "train_track_id.txt").write_bytes(b"1 2 \r\n4 5 \r\n")
    (root / "test_track_id.txt").write_bytes(b"2 \r\n1 10 \r\n")
    assert CityFlow(root, "city").read().equals(expected)
    (root / "test_track_id.txt").write_text("2 car\n")
    with pytest.raises(DataError, match=r"test_track_id\.txt names 'car', expected image names or numbers"):
        CityFlow(root, "city").read()


@pytest.mark.parametrize("fuller", ["names", "numbers"])
def test_of_two_track_files_the_fuller_one_counts(root, caplog, fuller):
    """The copy of 2019 lacks the last image of every track in one of them, so that some lines are empty."""
    files = {"names": "train_track.txt", "numbers": "train_track_id.txt"}
    whole = {"names": "000001.jpg 000002.jpg \r\n000003.jpg\r\n000004.jpg 000005.jpg\r\n", "numbers": "1 2 \n3\n4 5\n"}
    cut = {"names": "000001.jpg \r\n\r\n000004.jpg \r\n", "numbers": "1 \n \n4\n"}
    for kind, file in files.items():
        (root / file).write_bytes((whole if kind == fuller else cut)[kind].encode())
    table = CityFlow(root, "city").read()
    assert table["track_id"].tolist()[:7] == [0, 0, 1, 2, 2, -1, -1]
    other = next(file for kind, file in files.items() if kind != fuller)
    assert f"{files[fuller]} gives 5 images a track and {other} 2; the tracks of the former" in caplog.text
    assert "2 of 7 images in image_train have no track" in caplog.text


def test_two_track_files_that_agree_are_not_worth_a_word(root, caplog):
    (root / "test_track_id.txt").write_text("2\n1 10\n")
    assert CityFlow(root, "city").read()["track_id"].tolist()[-3:] == [3, 2, 3]
    assert "test_track" not in caplog.text
    (root / "test_track_id.txt").write_text("2 1\n10\n")
    assert CityFlow(root, "city").read()["track_id"].tolist()[-3:] == [3, 2, 3]
    assert "they put some images together differently" in caplog.text


def test_a_track_may_begin_with_its_name(root):
    expected = CityFlow(root, "city").read()
    (root / "train_track.txt").write_text("0001_c002_t1 000001.jpg 000002.jpg\n0401_c001_t1 000004.jpg 000005.jpg\n")
    assert CityFlow(root, "city").read().equals(expected)


def test_lists_without_endings(root):
    expected = CityFlow(root, "city").read()
    for part in ("train", "query", "test"):
        file = root / f"name_{part}.txt"
        file.write_text(file.read_text().replace(".jpg", ""))
    assert CityFlow(root, "city").read().equals(expected)


def test_nothing_is_measured_on_hidden_vehicles(root):
    with pytest.raises(DataError, match=r"2 of 2 queries .*vehicles are hidden: take data=cityflow_holdout"):
        build_tasks(CityFlow(root, "city").read(), ["image_to_image"])


def write_more_images(root: Path, vehicles: int, images: int) -> dict[str, tuple[int, int]]:
    """More training images than the tiny ones, from four cameras."""
    labels = {f"{n + 1:06}.jpg": (10 * (n % vehicles) + 1, n % 4) for n in range(vehicles * images)}
    for image in labels:
        (root / "image_train" / image).touch()
    (root / "name_train.txt").unlink()
    write_train_labels(root, labels)
    return labels


def test_hold_out_keeps_vehicles_apart_and_draws_three_probes_each(root):
    labels = write_more_images(root, vehicles=9, images=8)
    table = CityFlow(root, "city", split="hold_out", held_out=4).read()
    assert sorted(table["path"]) == [f"image_train/{image}" for image in labels]
    by_path = table.set_index("path")
    for image, (vehicle, camera) in labels.items():
        assert by_path.loc[f"image_train/{image}", ["vehicle_id", "camera_id"]].tolist() == [vehicle, camera]
    train, query, gallery = (table[table["split"] == split] for split in ("train", "query", "gallery"))
    assert train["vehicle_id"].nunique() == 5
    assert query.groupby("vehicle_id").size().tolist() == [3] * 4
    assert gallery.groupby("vehicle_id").size().tolist() == [5] * 4
    assert set(query["vehicle_id"]) == set(gallery["vehicle_id"])
    assert not set(train["vehicle_id"]) & set(query["vehicle_id"])
    assert [table["split"].drop_duplicates().tolist(), len(table)] == [["train", "query", "gallery"], 72]


def test_hold_out_is_drawn_by_the_seed_alone(root):
    labels = write_more_images(root, vehicles=9, images=8)
    first, again, other = (CityFlow(root, "city", split="hold_out", held_out=4, seed=seed).read() for seed in (0, 0, 1))
    assert first.equals(again)
    assert set(first.loc[first["split"] == "query", "path"]) != set(other.loc[other["split"] == "query", "path"])
    # Computed once: a benchmark's split must never change.
    assert sorted(set(first.loc[first["split"] == "query", "vehicle_id"])) == [1, 41, 61, 71]
    (root / "name_train.txt").write_text("\n".join(reversed(labels)))
    assert CityFlow(root, "city", split="hold_out", held_out=4).read().equals(first)


@pytest.mark.parametrize("held_out", [0, 4, 5])
def test_hold_out_needs_vehicles_on_both_sides(root, held_out):
    with pytest.raises(DataError, match=rf"held_out is {held_out}, expected 1 to 3: the training set has 4 vehicles"):
        CityFlow(root, "city", split="hold_out", held_out=held_out).read()


def test_vehiclenet_searches_in_all_training_images(root):
    table = CityFlow(root, "city", split="vehiclenet").read()
    train, gallery = table[table["split"] == "train"], table[table["split"] != "train"]
    assert train["path"].tolist() == [f"image_train/{image}" for image in list(TRAIN)[:3]]
    assert gallery["path"].tolist() == [f"image_train/{image}" for image in TRAIN]
    # One query of each vehicle above 400 and camera.
    assert gallery["split"].tolist() == ["gallery"] * 3 + ["test", "gallery", "test", "test"]
    (task,) = build_tasks(table, ["image_to_image"])
    assert task.protocol.ignore == "same_camera"
    assert table["vehicle_id"][task.trials[0].query].tolist() == [401, 401, 500]
    assert len(task.trials[0].gallery) == len(TRAIN)


def test_wrong_files_are_named(root):
    with pytest.raises(
        DataError, match=r"data\.layout\.split is 'test', expected one of official, hold_out, vehiclenet"
    ):
        CityFlow(root, "city", split="test")
    with pytest.raises(DataError, match="nowhere is no folder, expected image_train"):
        CityFlow(root / "nowhere", "city").read()
    (root / "image_test" / TEST[0]).unlink()
    with pytest.raises(DataError, match=r"1 of 12 listed files .*\(image_test/000001\.jpg\)"):
        CityFlow(root, "city").read()
    write_train_labels(root, {image: TRAIN[image] for image in list(TRAIN)[:3]})
    with pytest.raises(DataError, match=r"train_label\.xml has no item for 000004\.jpg"):
        CityFlow(root, "city").read()
    (root / "name_train.txt").write_text("\n".join(list(TRAIN)[:3]))
    with pytest.raises(
        DataError, match=r"trains on vehicles up to 400 .* has numbers 1 to 5; take data=cityflow_holdout"
    ):
        CityFlow(root, "city", split="vehiclenet").read()
    (root / "name_train.txt").write_text("car.jpg\n")
    with pytest.raises(DataError, match=r"the image name 'car\.jpg' is not <number>\.jpg"):
        CityFlow(root, "city").read()
