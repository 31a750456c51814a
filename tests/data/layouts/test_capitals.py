"""Copies of data sets whose image files end in .JPG."""

import shutil

import pandas as pd
import pytest

from src.data import image_path
from src.data.layouts import DayNight, VehicleID, VeRi776


def in_capitals(root, source):
    """A copy of a data set with other extensions of its image files, and the same lists."""
    shutil.copytree(source, root)
    images = [*root.rglob("*.jpg")]
    for image in images:
        image.rename(image.with_suffix(".JPG"))
    assert images
    return root


@pytest.mark.parametrize(("layout", "fixture"), [(DayNight, "quickstart"), (VeRi776, "quickstart_veri")])
def test_the_images_are_found(layout, fixture, request, tmp_path):
    source = request.getfixturevalue(fixture)
    found = layout(in_capitals(tmp_path / "copy", source), "set").read()
    assert all(image_path(found, row).is_file() for row in found.index[::50])
    plain = layout(source, "set").read()
    pd.testing.assert_series_equal(found["path"].str.replace(".JPG", ".jpg"), plain["path"])
    pd.testing.assert_frame_equal(found.drop(columns=["path", "root"]), plain.drop(columns=["path", "root"]))


def test_also_where_the_lists_have_no_extension(tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "train_test_split").mkdir()
    for number in (1, 2, 3, 4):
        (tmp_path / f"image/000000{number}.JPG").touch()
    (tmp_path / "train_test_split/train_list.txt").write_text("0000001 7\n0000002 7\n")
    (tmp_path / "train_test_split/test_list_800.txt").write_text("0000003 9\n0000004 9\n")
    paths = VehicleID(tmp_path, "set").read()["path"].tolist()
    assert paths == [f"image/000000{number}.JPG" for number in (1, 2, 3, 4)]
