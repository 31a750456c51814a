from pathlib import Path

import numpy as np
import pytest

from src.data.layouts import VeRi776
from src.data.protocols import build_tasks
from src.data.table import DataError

TRAIN = ["0001_c001_00016450_0.jpg", "0001_c002_00016500_0.jpg", "0003_c001_00000010_1.jpg"]
TEST = ["0002_c001_00030600_0.jpg", "0002_c002_00030700_0.jpg", "0002_c002_00030705_0.jpg", "0004_c003_00000700_0.jpg"]
QUERY = [TEST[0], TEST[1]]


def xml(images: list[str], colour: int) -> bytes:
    items = "".join(
        f'<Item imageName="{image}" vehicleID="{image[:4]}" cameraID="{image[5:9]}" '
        f'colorID="{colour}" typeID="{1 + number}"/>\r\n'
        for number, image in enumerate(images)
    )
    head = '<?xml version="1.0" encoding="gb2312"?>\r\n<!-- 车辆 -->\r\n<TrainingImages Version="1.0">\r\n'
    return f'{head}<Items number="{len(images)}">\r\n{items}</Items>\r\n</TrainingImages>\r\n'.encode("gb2312")


@pytest.fixture
def root(tmp_path) -> Path:
    for part, images in (("train", TRAIN), ("query", QUERY), ("test", TEST)):
        folder = tmp_path / f"image_{part}"
        folder.mkdir()
        for image in images:
            (folder / image).touch()
        (tmp_path / f"name_{part}.txt").write_bytes("".join(f"{image} \r\n" for image in images).encode())
    (tmp_path / "train_label.xml").write_bytes(xml(TRAIN, colour=4))
    (tmp_path / "test_label.xml").write_bytes(xml(TEST, colour=10))
    (tmp_path / "test_track.txt").write_bytes(f"{TEST[0]} \r\n{TEST[1]} {TEST[2]} \r\n{TEST[3]}\r\n".encode())
    return tmp_path


def test_reads_names_labels_and_tracks(root):
    table = VeRi776(root, "veri").read()
    assert table["path"].tolist() == [
        *(f"image_train/{image}" for image in TRAIN),
        *(f"image_query/{image}" for image in QUERY),
        *(f"image_test/{image}" for image in TEST),
    ]
    assert table["split"].tolist() == ["train"] * 3 + ["query"] * 2 + ["gallery"] * 4
    assert table["vehicle_id"].tolist() == [1, 1, 3, 2, 2, 2, 2, 2, 4]
    assert table["camera_id"].tolist() == [1, 2, 1, 1, 2, 1, 2, 2, 3]
    assert table["timestamp"].tolist() == [16450, 16500, 10, 30600, 30700, 30600, 30700, 30705, 700]
    assert table["track_id"].tolist() == [-1, -1, -1, 0, 1, 0, 1, 1, 2]
    assert table["colour"].tolist() == ["gray"] * 3 + ["black"] * 6
    assert table["type"].tolist() == ["sedan", "suv", "van", "sedan", "suv", "sedan", "suv", "van", "hatchback"]
    assert (table["mask"] == "").all()
    assert (table["domain"] == "").all()


def test_lists_of_colours_and_types_are_preferred_to_the_usual_numbers(root):
    (root / "list_color.txt").write_bytes(b"4 silver metallic\r\n10 pink\r\n")
    table = VeRi776(root, "veri").read()
    assert table["colour"].unique().tolist() == ["silver metallic", "pink"]
    assert table["type"].iloc[0] == "sedan"


def test_without_labels_the_names_tell_vehicle_and_camera(root):
    whole = VeRi776(root, "veri").read()
    (root / "test_label.xml").unlink()
    table = VeRi776(root, "veri").read()
    for column in ("vehicle_id", "camera_id", "timestamp"):
        assert table[column].tolist() == whole[column].tolist()
    assert table["colour"].tolist() == ["gray"] * 3 + [""] * 6


def test_views_are_at_the_ends_of_the_lines_of_key_points(root):
    assert (VeRi776(root, "veri").read()["view"] == "").all()
    keypoints = " ".join(["-1"] * 40)
    (root / "keypoint_train.txt").write_text(f"/VeRi/image_train/{TRAIN[1]} {keypoints} 5\n")
    (root / "keypoint_test.txt").write_text(f"a/{TEST[0]} {keypoints} 0\na/{TEST[3]} {keypoints} -1\n")
    table = VeRi776(root, "veri").read()
    views = dict(zip(table["path"].str.rpartition("/")[2], table["view"], strict=True))
    assert {image: view for image, view in views.items() if view} == {TRAIN[1]: "5", TEST[0]: "0"}
    (root / "keypoint_test.txt").write_text("image_test/1.jpg\n")
    with pytest.raises(DataError, match=r"keypoint_test\.txt ends with no view: 'image_test/1\.jpg'"):
        VeRi776(root, "veri").read()


def test_the_other_track_file_names_each_track_first(root):
    expected = VeRi776(root, "veri").read()
    (root / "test_track.txt").unlink()
    without = VeRi776(root, "veri").read()
    assert (without["track_id"] == -1).all()
    lines = [f"0002_c001_t00030600 {TEST[0]} ", f"0002_c002_t00030700 {TEST[1]} {TEST[2]}", f"0004_c003_t0 {TEST[3]}"]
    (root / "test_track_VeRi.txt").write_text("\n".join(lines) + "\n")
    assert VeRi776(root, "veri").read().equals(expected)


def test_of_two_track_files_the_fuller_one_counts(root, caplog):
    expected = VeRi776(root, "veri").read()
    (root / "test_track_VeRi.txt").write_text(f"0002_c001_t0 {TEST[0]}\n0002_c002_t0 {TEST[1]}\n")
    assert VeRi776(root, "veri").read().equals(expected)
    assert "test_track.txt gives 4 images a track and test_track_VeRi.txt 2" in caplog.text
    (root / "test_track.txt").write_text(f"{TEST[0]}\n")
    assert VeRi776(root, "veri").read()["track_id"].tolist()[-4:] == [0, 1, -1, -1]


@pytest.mark.parametrize("declared", ["gb2312", "utf-8", "UTF-8"])
def test_labels_say_the_same_whatever_they_declare(root, declared):
    expected = VeRi776(root, "veri").read()
    text = (root / "test_label.xml").read_bytes().decode("gb2312").replace("gb2312", declared)
    (root / "test_label.xml").write_bytes(text.encode(declared))
    assert VeRi776(root, "veri").read().equals(expected)


def test_lists_without_endings(root):
    expected = VeRi776(root, "veri").read()
    for part in ("train", "query", "test"):
        file = root / f"name_{part}.txt"
        file.write_text(file.read_text().replace(".jpg", ""))
    assert VeRi776(root, "veri").read().equals(expected)


def test_masks_are_found_where_they_are(root):
    (root / "masks" / "image_query").mkdir(parents=True)
    (root / "masks" / "image_query" / QUERY[1].replace(".jpg", ".png")).touch()
    table = VeRi776(root, "veri").read()
    assert table.loc[table["mask"] != "", ["path", "mask"]].to_numpy().tolist() == [
        [f"image_query/{QUERY[1]}", "masks/image_query/0002_c002_00030700_0.png"]
    ]


def test_camera_distances_are_mirrored(root):
    assert VeRi776(root, "veri").camera_distances() is None
    (root / "camera_Dist.txt").write_bytes(b"0 913 1979 \r\n0 0 1157\r\n0 0 0\r\n")
    expected = [[0, 913, 1979], [913, 0, 1157], [1979, 1157, 0]]
    distances = VeRi776(root, "veri").camera_distances()
    assert distances.to_numpy().tolist() == expected
    assert distances.index.tolist() == distances.columns.tolist() == [1, 2, 3]
    (root / "camera_Dist.txt").write_text("0 1\n0\n")
    with pytest.raises(DataError, match=r"camera_Dist\.txt is no square matrix"):
        VeRi776(root, "veri").camera_distances()
    (root / "camera_Dist.txt").write_text("0 far\n0 0\n")
    with pytest.raises(DataError, match="holds something else than numbers"):
        VeRi776(root, "veri").camera_distances()


def test_relevance_by_names_and_by_numbers_is_the_same(root):
    layout = VeRi776(root, "veri")
    table = layout.read()
    assert layout.relevance(table) is None
    good, junk = [[1, 2], [0]], [[0], [1, 2]]  # places in the gallery
    for kind, lists in (("gt", good), ("jk", junk)):
        lines = [" ".join(TEST[place] for place in line) for line in lists]
        (root / f"{kind}_image.txt").write_bytes("".join(f"{line} \r\n" for line in lines).encode())
    by_name = layout.relevance(table)
    for kind, lists in (("gt", good), ("jk", junk)):
        (root / f"{kind}_image.txt").unlink()
        lines = [" ".join(str(place + 1) for place in line) for line in lists]
        (root / f"{kind}_index.txt").write_text("\n".join(lines) + "\n")
    by_number = layout.relevance(table)
    for found in (by_name, by_number):
        assert [rows.tolist() for rows in found.good] == [[6, 7], [5]]
        assert [rows.tolist() for rows in found.junk] == [[5], [6, 7]]
        assert found.good[0].dtype == np.int64


def test_relevance_keeps_queries_without_junk_and_refuses_wrong_lists(root):
    layout = VeRi776(root, "veri")
    table = layout.read()
    (root / "gt_index.txt").write_text("2 3\n1\n")
    (root / "jk_index.txt").write_text("\n2\n")
    assert [rows.tolist() for rows in layout.relevance(table).junk] == [[], [6]]
    (root / "jk_index.txt").write_text("2\n")
    with pytest.raises(DataError, match=r"jk_index\.txt has 1 lines, expected one a query: 2"):
        layout.relevance(table)
    (root / "jk_index.txt").write_text("2\n5\n")
    with pytest.raises(DataError, match="names '5', which is not in the gallery"):
        layout.relevance(table)


def test_wrong_files_are_named(root):
    (root / "image_query" / QUERY[0]).unlink()
    with pytest.raises(DataError, match=rf"1 of 9 listed files .*\(image_query/{QUERY[0]}\)"):
        VeRi776(root, "veri").read()
    (root / "test_label.xml").write_bytes(xml(TEST, 1).replace(b"vehicleID", b"vehicle"))
    with pytest.raises(DataError, match=r"test_label\.xml is no label file: vehicleID of 0002_c001.* is None"):
        VeRi776(root, "veri").read()
    (root / "test_label.xml").write_bytes(xml(TEST, 1)[:-30])
    with pytest.raises(DataError, match=r"test_label\.xml is no label file"):
        VeRi776(root, "veri").read()
    (root / "test_label.xml").write_bytes(xml(TEST, 1).replace(b'"0002"', b'"two"'))
    with pytest.raises(DataError, match=r"vehicleID of 0002_c001.* is 'two', expected a number"):
        VeRi776(root, "veri").read()
    (root / "test_label.xml").unlink()
    (root / "name_test.txt").write_text("car.jpg\n")
    with pytest.raises(DataError, match=r"'car\.jpg' is not <vehicle>_c<camera>_<time>_<number>"):
        VeRi776(root, "veri").read()
    (root / "name_test.txt").unlink()
    with pytest.raises(DataError, match=r"the list .*name_test\.txt is missing"):
        VeRi776(root, "veri").read()
    with pytest.raises(DataError, match=r"nowhere is no folder, expected image_train"):
        VeRi776(root / "nowhere", "veri").read()


def test_the_evaluation_rule_reproduces_the_authors_lists():
    layout = VeRi776(Path(__file__).parents[3] / "data" / "quickstart_veri", "quickstart_veri")
    table = layout.read()
    good, junk = layout.relevance(table)
    vehicle, camera = table["vehicle_id"].to_numpy(), table["camera_id"].to_numpy()
    (task,) = build_tasks(table, ["image_to_image"])
    assert task.protocol.ignore == "same_camera"
    (trial,) = task.trials
    for query, right, ignored in zip(trial.query, good, junk, strict=True):
        same = trial.gallery[vehicle[trial.gallery] == vehicle[query]]
        assert set(right) == set(same[camera[same] != camera[query]])
        assert set(ignored) == set(same[camera[same] == camera[query]])
