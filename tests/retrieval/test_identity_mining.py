"""Identity mining against plain loops in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional as F

from src.retrieval import KReciprocalDistance, Mining, mine_identities, purity
from src.retrieval.distances.feature_distance import FeatureDistance
from src.retrieval.identity_mining import farthest_first, kmeans_labels, nearest_chosen


class Given:
    """A distance that is a matrix."""

    def __init__(self, matrix):
        self._matrix = torch.tensor(np.asarray(matrix), dtype=torch.float32)
        self.shape = tuple(self._matrix.shape)
        self.device = self._matrix.device

    def block(self, queries, gallery):
        return self._matrix[queries][:, gallery].clone()


def slow_representatives(distance, d_n, first):
    chosen = [first]
    while True:
        best, largest = None, -math.inf
        for query in range(len(distance)):
            if query in chosen or any(distance[one][query] <= d_n for one in chosen):
                continue
            total = sum(distance[one][query] for one in chosen)
            if total > largest:
                best, largest = query, total
        if best is None:
            return chosen
        chosen.append(best)


def slow_labels(distance, chosen, d_p):
    labels = []
    for entry in range(len(distance[0])):
        label, nearest = -1, d_p
        for number, one in enumerate(chosen):
            if distance[one][entry] < nearest:
                label, nearest = number, distance[one][entry]
        labels.append(chosen.index(entry) if entry in chosen else label)
    return labels


@st.composite
def whole_numbers(draw):
    """Distances that are often equal, exactly: queries to queries and gallery."""
    queries = draw(st.integers(1, 7))
    entries = queries + draw(st.integers(0, 6))
    return draw(arrays.arrays(np.int64, (queries, entries), elements=st.integers(0, 4)))


@settings(max_examples=200, deadline=None)
@given(whole_numbers(), st.integers(0, 4), st.integers(1, 5), st.data())
def test_equal_distances_go_to_the_first(distance, d_n, d_p, data):
    first = data.draw(st.integers(0, len(distance) - 1))
    block_mb = data.draw(st.sampled_from([1e-9, 128]))  # one row at a time, or all
    chosen = farthest_first(Given(distance), d_n, first, block_mb)
    assert chosen.tolist() == slow_representatives(distance.tolist(), d_n, first)
    labels = nearest_chosen(Given(distance), chosen, d_p, block_mb)
    assert labels.tolist() == slow_labels(distance.tolist(), chosen.tolist(), d_p)


def vehicles(seed, queries=40, gallery=110, count=15, noise=0.25):
    """Unit features of some vehicles, and which is whose."""
    rng = np.random.default_rng(seed)
    own = rng.integers(count, size=queries + gallery)
    centres = rng.normal(size=(count, 16))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    features = centres[own] + noise * rng.normal(size=(len(own), 16)) * rng.uniform(size=(len(own), 1))
    return F.normalize(torch.tensor(features, dtype=torch.float32)), own


def dense(features, kind):
    f = features.double().numpy()
    if kind == "angle":
        f = f / np.linalg.norm(f, axis=1, keepdims=True)
        return np.arccos(np.clip(f @ f.T, -1, 1))
    return np.linalg.norm(f[:, None] - f, axis=2)


@pytest.mark.parametrize("kinds", [("euclidean", "euclidean"), ("angle", "euclidean"), ("euclidean", "angle")])
@pytest.mark.parametrize("seed", range(4))
def test_images_are_labelled_as_by_loops(kinds, seed):
    features, _ = vehicles(seed)
    options = Mining(d_n=0.8, d_n_distance=kinds[0], d_p=0.5, d_p_distance=kinds[1], first=seed)
    found = mine_identities(features, 40, options)
    chosen = slow_representatives(dense(features, kinds[0])[:40, :40], 0.8, seed)
    assert found.representatives.tolist() == chosen
    labels = slow_labels(dense(features, kinds[1])[:40], chosen, 0.5)
    assert found.labels.tolist() == labels
    assert 1 < len(chosen) < 40
    assert 0 < labels.count(-1) < 150


@pytest.mark.parametrize("which", ["d_n", "d_p", "both"])
def test_distances_can_be_reranked(which):
    features, _ = vehicles(5)
    kinds = {name: "reranked" if which in (name, "both") else "euclidean" for name in ("d_n", "d_p")}
    options = Mining(0.6, kinds["d_n"], 0.4, kinds["d_p"], first=3, k1=7, k2=2, lambda_value=0.6)
    found = mine_identities(features, 40, options)
    # A query's re-ranked distance to the gallery does not depend on which other images are called queries.
    everything = FeatureDistance(features, features)
    reranked = np.empty((40, 150))
    for first in range(150):  # image by image as the only gallery image, put last
        order = [*(i for i in range(150) if i != first), first]
        one = KReciprocalDistance(FeatureDistance(features[order], features[order]), 149, k1=7, k2=2, lambda_value=0.6)
        others = one.block(slice(0, 149), slice(0, 1))[:, 0].numpy()
        for place, image in enumerate(order[:-1]):
            if image < 40:
                reranked[image, first] = others[place]
    for query in range(40):
        reranked[query, query] = 0
    plain = everything.block(slice(0, 40), slice(0, 150)).numpy()
    chosen = slow_representatives((reranked if kinds["d_n"] == "reranked" else plain)[:, :40], 0.6, 3)
    assert found.representatives.tolist() == chosen
    labels = slow_labels(reranked if kinds["d_p"] == "reranked" else plain, chosen, 0.4)
    assert found.labels.tolist() == labels
    assert 0 < labels.count(-1) < 150


@pytest.mark.parametrize("kind", ["average", "weighted"])
def test_tracks_are_labelled_by_their_feature(kind):
    features, own = vehicles(6)
    tracks = np.where(np.arange(110) % 11 == 0, -1, own[40:] * 3)
    found = mine_identities(features, 40, Mining(d_n=0.8, d_p=0.5, tracks=kind, first=0), tracks)
    f = features.double().numpy()
    query, gallery = f[:40], f[40:]
    distances = np.linalg.norm(query[:, None] - gallery, axis=2)
    groups = [[image] for image in np.flatnonzero(tracks < 0)]
    groups += [np.flatnonzero(tracks == track).tolist() for track in sorted(set(tracks[tracks >= 0]))]
    means = []
    for group in groups:
        rows = distances[:, group][(distances[:, group] < 0.2).any(axis=1)]
        weights = 1 / (rows.mean(axis=0) + 0.01) if kind == "weighted" and len(rows) else np.ones(len(group))
        mean = (weights[:, None] * gallery[group]).sum(axis=0)
        means.append(mean / np.linalg.norm(mean))
    both = np.concatenate([query, means])
    all_to_all = np.linalg.norm(both[:, None] - both, axis=2)
    chosen = slow_representatives(all_to_all[:40, :40], 0.8, 0)
    labels = slow_labels(all_to_all[:40], chosen, 0.5)
    expected = np.full(110, -2)
    for group, label in zip(groups, labels[40:], strict=True):
        expected[group] = label
    assert found.representatives.tolist() == chosen
    assert found.labels.tolist() == labels[:40] + expected.tolist()
    assert 0 < (expected < 0).sum() < 110


def test_one_query_and_nothing_near():
    features = F.normalize(torch.eye(4, 5))
    found = mine_identities(features, 1, Mining())
    assert (found.representatives.tolist(), found.labels.tolist()) == ([0], [0, -1, -1, -1])
    found = mine_identities(features, 4, Mining(first=2))
    assert (found.representatives.tolist(), found.labels.tolist()) == ([2, 0, 1, 3], [1, 2, 0, 3])


def test_the_first_query_is_drawn_by_the_seed():
    features, _ = vehicles(7)
    firsts = [int(mine_identities(features, 40, Mining(d_n=3.0), seed=seed).representatives[0]) for seed in range(12)]
    again = [int(mine_identities(features, 40, Mining(d_n=3.0), seed=seed).representatives[0]) for seed in range(12)]
    assert firsts == again
    assert len(set(firsts)) > 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_n_distance": "cosine"}, "mine.d_n_distance is 'cosine', expected one of euclidean, angle, reranked"),
        ({"tracks": "first"}, "mine.tracks is 'first', expected one of average, weighted, null"),
        ({"d_p": 0}, "mine.d_p is 0, expected a distance above 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Mining(**options)


def test_what_cannot_be_mined_is_refused():
    features, _ = vehicles(8)
    with pytest.raises(ValueError, match="There is no query"):
        mine_identities(features, 0, Mining())
    with pytest.raises(ValueError, match=r"mine\.first is 40, expected the place of one of 40 queries: 0 to 39"):
        mine_identities(features, 40, Mining(first=40))
    with pytest.raises(ValueError, match=r"mine\.tracks is 'average', but no track of a gallery image is known"):
        mine_identities(features, 40, Mining(tracks="average"), np.full(110, -1))


def test_purity_is_the_share_of_the_majorities():
    labels = np.array([0, 0, 0, 1, 1, -1, 2, 2])
    owners = np.array([5, 5, 7, 7, 7, 5, -1, 9])  # an unknown vehicle is none of the others
    assert purity(labels, owners) == (2 + 2 + 1) / 7
    assert purity(labels, np.full(8, -1)) is None
    assert purity(np.full(8, -1), owners) is None


def test_clusters_hold_every_image():
    features, own = vehicles(9, noise=0.01)
    labels = kmeans_labels(features, 15)
    assert sorted(set(labels)) == list(range(15))
    assert purity(labels, own) > 0.9
    features, own = vehicles(9, noise=0.5)
    mined = mine_identities(features, 40, Mining(d_n=0.9, d_p=0.5)).labels
    assert purity(mined, own) > purity(kmeans_labels(features, 15), own)
    with pytest.raises(ValueError, match=r"mine\.clusters is 151, but there are only 150 images"):
        kmeans_labels(features, 151)


def test_too_few_clusters_cannot_be_right():
    """Of perfect features k-means gets every image right, but not with fewer clusters than vehicles."""
    features, own = vehicles(9, noise=1e-4)
    assert purity(kmeans_labels(features, 15), own) > 0.9
    few = purity(kmeans_labels(features, 5), own)
    assert few <= np.sort(np.bincount(own))[-5:].sum() / len(own)


def test_wrong_options_of_clusters_are_refused():
    with pytest.raises(ValueError, match=r"mine\.kind is 'dbscan', expected one of identity_mining, kmeans"):
        Mining(kind="dbscan")
    with pytest.raises(ValueError, match=r"mine\.clusters is 0, expected at least 1, or null"):
        Mining(clusters=0)
