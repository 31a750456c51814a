import numpy as np
import pytest
import torch

from src.retrieval import FeatureDistance, TrackDistance
from src.retrieval.distances.track_distance import label_of_track


def test_blocks_of_any_rows_hold_the_nearest_image_of_each_track():
    rng = np.random.default_rng(6)
    query, gallery = rng.normal(size=(23, 4)), rng.normal(size=(5001, 4))  # more images than are gathered at once
    tracks = rng.integers(0, 9, 5001) * 10
    images = FeatureDistance(query, gallery)
    distance = TrackDistance(images, tracks)
    every_image = images.block(slice(0, 23), slice(0, 5001)).numpy()
    expected = torch.from_numpy(np.stack([every_image[:, tracks == 10 * t].min(axis=1) for t in range(9)], axis=1))
    assert distance.shape == (23, 9)
    torch.testing.assert_close(distance.block(slice(0, 23), slice(0, 9)), expected)
    rows, columns = torch.tensor([4, 4, 20]), torch.tensor([8, 0, 3])
    torch.testing.assert_close(distance.block(rows, columns), expected[rows][:, columns])
    torch.testing.assert_close(distance.block(slice(3, 5), slice(2, 6)), expected[3:5, 2:6])


def test_a_track_has_one_label():
    assert label_of_track("ids", [4, 9, 4, 7], [30, 10, 30, 20]).tolist() == [9, 7, 4]
    with pytest.raises(ValueError, match="Track 30 has both 4 and 5 in ids"):
        label_of_track("ids", [4, 9, 5, 7], [30, 10, 30, 20])


def test_one_track_for_each_image_is_required():
    with pytest.raises(ValueError, match="gallery_tracks has 2 values, expected 3"):
        TrackDistance(FeatureDistance(np.zeros((1, 2)), np.zeros((3, 2))), [0, 1])
