"""Where cameras stand."""

import numpy as np
import pandas as pd
import pytest

from src.gallery.cameras import Camera, places, places_from_distances, read_cameras


def test_places_keep_the_distances_of_a_plane():
    points = np.random.default_rng(0).normal(size=(7, 2))
    cameras = [3, 1, 4, 5, 9, 2, 6]
    distances = pd.DataFrame(np.linalg.norm(points[:, None] - points, axis=2), index=cameras, columns=cameras)
    found = places_from_distances(distances)
    assert list(found) == cameras
    placed = np.array([found[camera] for camera in cameras])
    np.testing.assert_allclose(np.linalg.norm(placed[:, None] - placed, axis=2), distances.to_numpy(), atol=1e-9)


def test_a_file_comes_before_distances():
    distances = pd.DataFrame([[0.0, 3.0], [3.0, 0.0]], index=[1, 2], columns=[1, 2])
    assert places({1: Camera("gate", 4.0, 5.0)}, distances) == {1: (4.0, 5.0)}
    (x1, y1), (x2, y2) = places({}, distances).values()
    assert np.hypot(x1 - x2, y1 - y2).round(9) == 3
    assert places({}, None) == {}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_file_of_a_spreadsheet(tmp_path, separator):
    lines = ["camera_id,name,x,y", "3,North gate,1.5,2", "4,NA,-1,0"]
    (tmp_path / "cameras.csv").write_text("\n".join(lines).replace(",", separator), encoding="utf-8-sig")
    assert read_cameras(tmp_path / "cameras.csv") == {
        3: Camera("North gate", 1.5, 2.0),
        4: Camera("NA", -1.0, 0.0),
    }
