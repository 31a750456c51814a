"""Track features against plain loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from src.retrieval import average_track_features, track_features, track_numbers, weighted_track_features


@pytest.fixture
def scene():
    """Queries, and tracks of gallery images, some near a query and some near none."""
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(12, 6, generator=generator))
    tracks = torch.randint(12, (90,), generator=generator)
    tracks[:12] = torch.arange(12)
    gallery = F.normalize(centres[tracks] + 0.08 * torch.randn(90, 6, generator=generator))
    queries = F.normalize(centres[[0, 1, 1, 2, 5, 5, 5]] + 0.05 * torch.randn(7, 6, generator=generator))
    return queries, gallery, tracks.numpy()


def test_numbers_are_consecutive_and_images_without_a_track_are_their_own():
    assert track_numbers(np.array([7, 3, -1, 7, -1, 3])).tolist() == [1, 0, 2, 1, 3, 0]
    assert track_numbers(np.array([-1, -1])).tolist() == [0, 1]
    assert track_numbers(np.empty(0, dtype=np.int64)).tolist() == []


def test_average_is_the_normalised_mean(scene):
    _, gallery, tracks = scene
    for track, feature in enumerate(average_track_features(gallery, tracks)):
        mean = gallery.double().numpy()[tracks == track].mean(axis=0)
        np.testing.assert_allclose(feature, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("images_at_once", [1, 7, 4096])
def test_weights_are_those_of_the_paper(scene, monkeypatch, images_at_once):
    monkeypatch.setattr(track_features, "_IMAGES", images_at_once)
    queries, gallery, tracks = scene
    found = weighted_track_features(queries, gallery, tracks, threshold=0.35)
    q, g = queries.double().numpy(), gallery.double().numpy()
    similar_to_none = 0
    for track in range(12):
        frames = g[tracks == track]
        distances = np.linalg.norm(q[:, None] - frames, axis=2)
        rows = [row for row in distances if row.min() < 0.35]
        similar_to_none += not rows
        weights = 1 / (np.mean(rows, axis=0) + 0.01) if rows else np.ones(len(frames))
        expected = sum(weight * frame for weight, frame in zip(weights, frames, strict=True))
        np.testing.assert_allclose(found[track], expected / np.linalg.norm(expected), atol=1e-5)
    assert 0 < similar_to_none < 12


def test_without_queries_the_weighted_feature_is_the_average(scene):
    _, gallery, tracks = scene
    torch.testing.assert_close(
        weighted_track_features(gallery[:0], gallery, tracks), average_track_features(gallery, tracks)
    )
    assert weighted_track_features(gallery, gallery[:0], tracks[:0]).shape == (0, 6)
