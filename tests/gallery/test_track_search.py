"""Tracks instead of images, against loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from src.data import make_table
from src.gallery import Filters, Gallery
from src.gallery.track_search import Tracks
from src.retrieval import Embeddings

TRACKS = [7, 7, 3, -1, 3, 7, 3, -1, 9]


@pytest.fixture
def gallery():
    features = F.normalize(torch.randn(len(TRACKS), 16))
    times = [30.0, 10.0, 5.0, 1.0, 6.0, 20.0, 4.0, 2.0, 9.0]
    columns = {
        "path": [f"{n}.jpg" for n in range(len(TRACKS))],
        "split": "gallery",
        "track_id": TRACKS,
        "timestamp": times,
        "camera_id": [1, 1, 2, 1, 2, 1, 2, 3, 3],
    }
    return Gallery(Embeddings(features, np.arange(len(TRACKS)), make_table("cars", "cars", columns)))


def groups():
    """Rows of each track; those without one alone."""
    of = {track: [row for row, other in enumerate(TRACKS) if other == track] for track in TRACKS if track >= 0}
    return [*of.values(), [3], [7]]


def expected(gallery, query):
    mean = query.astype(np.float64).mean(axis=0)
    found = []
    for rows in groups():
        feature = gallery.features[rows].astype(np.float64).mean(axis=0)
        score = feature @ mean / np.linalg.norm(feature) / np.linalg.norm(mean)
        found.append((score, sorted(rows, key=lambda row: gallery.table["timestamp"][row])))
    return sorted(found, reverse=True)


def test_tracks_are_found_by_their_mean(gallery):
    query = F.normalize(torch.randn(2, 16)).numpy()
    hits = Tracks(gallery).search(query, 9)
    for hit, (score, rows) in zip(hits, expected(gallery, query), strict=True):
        assert hit.rows == rows
        assert hit.score == pytest.approx(score, abs=1e-5)
        assert hit.row == max(rows, key=lambda row: float(gallery.features[row] @ query.mean(axis=0)))
    assert len(Tracks(gallery).search(query, 2)) == 2
    least = hits[2].score - 1e-4
    assert len(Tracks(gallery).search(query, 9, threshold=least)) == 3


def test_filters_take_tracks_by_their_images_and_the_query_s_own_is_left_out(gallery):
    query = gallery.features[:1]
    hits = Tracks(gallery).search(query, 9, Filters(camera=[1]))
    assert sorted(hit.rows for hit in hits) == [[1, 5, 0], [3]]
    hits = Tracks(gallery).search(query, 9, Filters(after=15))
    assert [hit.rows for hit in hits] == [[5, 0]]
    assert len(Tracks(gallery).search(query, 9, leave_out=0)) == 4
    with pytest.raises(ValueError, match="camera is 8"):
        Tracks(gallery).search(query, 9, Filters(camera=[8]))
    with pytest.raises(ValueError, match="has 3 dimensions and the gallery 16"):
        Tracks(gallery).search(query[:, :3], 9)


def test_weighted_tracks_look_more_like_the_query(gallery):
    query = gallery.features[1:2]
    assert Tracks(gallery, "weighted").search(query, 1)[0].rows == [1, 5, 0]
    assert Tracks(gallery, "weighted").search(query, 1)[0].score > Tracks(gallery).search(query, 1)[0].score
    with pytest.raises(ValueError, match="tracks is 'best', expected mean or weighted"):
        Tracks(gallery, "best")


def test_a_track_s_images_and_mean(gallery):
    tracks = Tracks(gallery)
    assert tracks.any
    assert tracks.rows_of(0) == [1, 5, 0]
    assert tracks.rows_of(3) == [3]
    mean = gallery.features[[0, 1, 5]].mean(axis=0)
    np.testing.assert_allclose(tracks.mean_of(5)[0], mean / np.linalg.norm(mean), rtol=1e-5)
