"""A page of tracks."""

import numpy as np
from PIL import Image

from src.figures.contact_sheet import TrackOnSheet, draw_contact_sheet


def test_each_track_is_a_line_of_its_crops(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    tracks = [TrackOnSheet(f"track {number}", [2 * number, 2 * number + 1]) for number in range(2)]
    draw_contact_sheet(tracks, lambda row: np.full((90, 60, 3), colours[row], np.uint8), "Camera 1", tmp_path / "s.png")
    page = np.asarray(Image.open(tmp_path / "s.png"))
    assert page.shape == (1754, 1240, 3)
    for colour in colours:
        assert (page == colour).all(axis=2).sum() == 90 * 60


def test_of_many_tracks_some_from_all_over_are_shown(tmp_path):
    tracks = [TrackOnSheet(f"track {number}", [number] * 4) for number in range(500)]
    read = []
    draw_contact_sheet(
        tracks, lambda row: read.append(row) or np.zeros((20, 20, 3), np.uint8), "Camera 1", tmp_path / "s.png"
    )
    shown = sorted(set(read))
    assert shown[0] == 0
    assert shown[-1] == 499
    assert 12 <= len(shown) < 100
    draw_contact_sheet([], lambda row: np.zeros((20, 20, 3), np.uint8), "Camera 1", tmp_path / "empty.png")
    assert (tmp_path / "empty.png").is_file()
