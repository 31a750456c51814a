import logging
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from src.data.images import read_image
from src.data.layouts import CompCars
from src.data.table import DataError, image_path, known

#: Image → its label file.
LABELS = {
    "78/1/2014/a.jpg": "4\r\n1\r\n2 3 8 9 \r\n",
    "78/1/2014/b.jpg": "-1\n1\n1 1 10 12\n",
    "78/1/2013/c.jpg": "1\n1\n5 5 5 5",
    "9/12/unknown/d.jpg": "1\n1\n1 1 4 4\n",
    "9/12/unknown/right_of_left.jpg": "1\n1\n4 1 3 4\n",
    "9/12/unknown/from_zero.jpg": "1\n1\n0 1 3 4\n",
    "9/12/unknown/short.jpg": "1\n1\n",
    "9/12/unknown/words.jpg": "1\n1\nx1 y1 x2 y2\n",
}
GOOD = [path for path in sorted(LABELS) if len(Path(path).stem) == 1]


@pytest.fixture
def root(tmp_path, write_image) -> Path:
    for path, label in LABELS.items():
        write_image(tmp_path / "image" / path)
        file = (tmp_path / "label" / path).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(label.encode())
    (tmp_path / "misc").mkdir()
    attributes = (
        "model_id maximum_speed displacement door_number seat_number type\r\n1 235 1.8 4 5 2\r\n12 0 0 0 0 0\r\n"
    )
    (tmp_path / "misc" / "attributes.txt").write_bytes(attributes.encode())
    names = np.empty((1, 2), dtype=object)
    names[0, :] = ["MPV", "SUV"]
    savemat(tmp_path / "misc" / "car_type.mat", {"types": names})
    return tmp_path


def test_a_class_is_make_model_and_year(root):
    table = CompCars(root, "comp").read()
    assert table["path"].tolist() == [f"image/{path}" for path in GOOD]
    assert table["vehicle_id"].tolist() == [78_0001_2013, 78_0001_2014, 78_0001_2014, 9_0012_0000]
    assert table["type"].tolist() == ["SUV", "SUV", "SUV", ""]
    assert set(table["split"]) == {"train"}


def test_boxes_count_from_one_and_include_their_ends(root, write_image):
    table = CompCars(root, "comp").read()
    assert table["box"].tolist() == ["4 4 5 5", "1 2 8 9", "0 0 10 12", "0 0 4 4"]
    image = write_image(root / "image" / "78/1/2014/a.png")
    (root / "image/78/1/2014/a.png").rename(root / "image/78/1/2014/a.jpg")
    row = table.index[table["path"].str.endswith("a.jpg")][0]
    # Matlab's image(3:9, 2:8).
    assert np.array_equal(read_image(image_path(table, row), table["box"][row]), image[2:9, 1:8])


def test_what_is_left_out_is_counted(root, caplog):
    (root / "label/78/1/2013/c.txt").unlink()
    with caplog.at_level(logging.WARNING):
        table = CompCars(root, "comp").read()
    assert len(table) == 3
    (message,) = caplog.messages
    assert message == ("Data set 'comp': 5 of 8 images are left out: 1 have no label file, 4 have an invalid box.")


def test_lists_choose_images_and_may_name_missing_ones(root, caplog):
    (root / "train.txt").write_bytes(b"78/1/2014/a.jpg \r\n9/12/unknown/gone.jpg\r\n\r\n")
    (root / "test.txt").write_bytes(b"9/12/unknown/d.jpg\r\n78/1/2014/a.jpg\r\n")
    with caplog.at_level(logging.WARNING):
        table = CompCars(root, "comp", lists=["train.txt", "test.txt"]).read()
    assert table["path"].tolist() == ["image/78/1/2014/a.jpg", "image/9/12/unknown/d.jpg"]
    assert caplog.messages == ["Data set 'comp': 1 of 3 images are left out: 1 are listed but missing."]


@pytest.mark.parametrize("file", ["attributes.txt", "car_type.mat"])
def test_types_need_both_files(root, file):
    (root / "misc" / file).unlink()
    assert not known(CompCars(root, "comp").read(), "type").any()


def test_types_stay_unknown_where_the_file_cannot_be_read(root, caplog):
    (root / "misc" / "car_type.mat").write_bytes(
        b"no matrix at all, and more than 128 bytes of it: " + bytes(range(1, 200))
    )
    with caplog.at_level(logging.WARNING):
        assert not known(CompCars(root, "comp").read(), "type").any()
    assert any("types stay unknown" in message for message in caplog.messages)


def test_wrong_folders_are_named(root):
    with pytest.raises(DataError, match=r"nowhere/image is no folder, expected <make>/<model>/<year>"):
        CompCars(root / "nowhere", "comp").read()
    with pytest.raises(DataError, match=r"the list .*none\.txt is missing"):
        CompCars(root, "comp", lists=["none.txt"]).read()
    (root / "image" / "car.jpg").touch()
    with pytest.raises(DataError, match=r"'car\.jpg' in .*image is not <make number>/<model number>/<year>/<image>"):
        CompCars(root, "comp").read()
