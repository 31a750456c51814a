"""New orders of a ranking, against lists put together entry by entry."""

import numpy as np
import pytest
import torch

from src.retrieval import ExpandedTracks, FeatureDistance, GroupReranking, Sum

OWNER = np.array([2, 0, 1, 2, 2, 0, 3, 1, 0, 3, 4])


def order_of(places):
    return [int(entry) for entry in np.argsort(places, kind="stable") if np.isfinite(places[entry])]


def distances(seed, *shape):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 6, shape).astype(np.float32)  # with ties


def test_tracks_become_their_images_the_nearest_first(dense_distance):
    tracks, images = distances(0, 8, 5), distances(1, 8, 11)
    tracks[3, 2] = images[4, 6] = np.inf  # filtered
    expanded = ExpandedTracks(dense_distance(tracks), dense_distance(images), OWNER)
    places = expanded.block(slice(0, 8), slice(0, 11)).numpy()
    for q in range(8):
        expected = []
        for track in np.argsort(tracks[q], kind="stable"):
            members = [image for image in range(11) if OWNER[image] == track]
            expected += sorted(members, key=lambda image, q=q: images[q, image])
        out = np.isinf(images[q]) | np.isinf(tracks[q])[OWNER]
        assert order_of(places[q]) == [image for image in expected if not out[image]]
    torch.testing.assert_close(
        expanded.block(torch.tensor([5, 1]), torch.tensor([10, 0, 3])), torch.from_numpy(places[[5, 1]][:, [10, 0, 3]])
    )


@pytest.mark.parametrize("theta", [0.0, 2.5, 100.0])
def test_the_rest_of_a_track_follows_its_first_image_if_that_is_near(dense_distance, theta):
    images = distances(2, 8, 11)
    images[2, [0, 7]] = np.inf
    reranked = GroupReranking(dense_distance(images), OWNER, theta)
    places = reranked.block(slice(0, 8), slice(0, 11)).numpy()
    for q in range(8):
        expected = []
        ranking = list(np.argsort(images[q], kind="stable"))
        for image in ranking:
            if image in expected:
                continue
            expected.append(image)
            if images[q, image] < theta:
                expected += [other for other in ranking if OWNER[other] == OWNER[image] and other not in expected]
        assert order_of(places[q]) == [image for image in expected if np.isfinite(images[q, image])]
    if theta == 0:
        assert order_of(places[0]) == list(np.argsort(images[0], kind="stable"))


def test_places_can_be_filtered_again(dense_distance):
    features = np.random.default_rng(3).normal(size=(12, 3)).astype(np.float32)
    ranked = GroupReranking(FeatureDistance(features[:1], features[1:]), OWNER, 1.0)
    hidden = np.zeros((1, 11))
    hidden[0, 5] = np.inf
    places = Sum([ranked, dense_distance(hidden)]).block(slice(0, 1), slice(0, 11))
    assert places.isinf().nonzero().tolist() == [[0, 5]]
