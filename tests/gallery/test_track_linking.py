"""Linking of tracks against slow loops, and on vehicles that are known."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from src.data import make_table
from src.gallery import link_run
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.link_scores import link_scores
from src.gallery.links import read_links
from src.gallery.track_linking import (
    TrackTable,
    TravelTimes,
    choose_threshold,
    cluster,
    impossible,
    link_distances,
    pair_f1,
    trips_table,
)
from src.retrieval import Embeddings, LogNormal, SpatioTemporalTerm, TripModel, write_embeddings
from src.retrieval.probabilities.calibration import Calibration, EvidenceCurve, Fit
from src.runtime.errors import ConfigError
from src.runtime.json_files import as_plain, record_of


def slow_cluster(distance, never, threshold):
    """Average linkage with every pair of groups looked at each time."""
    groups = [[track] for track in range(len(distance))]
    while True:
        best = None
        for one, other in itertools.combinations(range(len(groups)), 2):
            pairs = [(a, b) for a in groups[one] for b in groups[other]]
            if any(never[pair] for pair in pairs):
                continue
            mean = sum(distance[pair] for pair in pairs) / len(pairs)
            if mean <= threshold and (best is None or mean < best[0]):
                best = (mean, one, other)
        if best is None:
            return sorted(sorted(group) for group in groups)
        groups[best[1]] += groups.pop(best[2])


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 2.0])
def test_clusters_against_every_pair(threshold):
    rng = np.random.default_rng()
    distance = rng.random((14, 14))
    distance = (distance + distance.T) / 2
    never = np.triu(rng.random((14, 14)) < 0.2, 1)
    never = never | never.T
    found = cluster(distance, never, threshold)
    by_group = sorted(np.flatnonzero(found == group).tolist() for group in range(found.max() + 1))
    assert by_group == slow_cluster(distance, never, threshold)
    assert found[np.unique(found, return_index=True)[1]].tolist() == list(range(found.max() + 1))
    assert cluster(np.empty((0, 0)), np.empty((0, 0), bool), 1.0).shape == (0,)


def make(cameras, first, last, vehicles=None, features=None):
    count = len(cameras)
    features = F.normalize(torch.randn(count, 8)).numpy() if features is None else features
    vehicles = np.full(count, -1) if vehicles is None else np.array(vehicles)
    return TrackTable(
        np.arange(count),
        features,
        np.array(cameras),
        np.array(first, float),
        np.array(last, float),
        vehicles,
        np.arange(count),
    )


def test_a_vehicle_is_at_one_place_at_a_time_and_takes_time_to_get_there():
    tracks = make([1, 2, 2, 3, 1], [0, 5, 12, 8, 8], [10, 20, 30, 9, 12])
    travel = TravelTimes({(1, 2): 3.0})
    never = impossible(tracks, travel)
    for one, other in itertools.product(range(5), repeat=2):
        gap = max(tracks.first[one] - tracks.last[other], tracks.first[other] - tracks.last[one])
        pair = tuple(sorted((tracks.cameras[one], tracks.cameras[other])))
        same = tracks.cameras[one] == tracks.cameras[other]
        assert never[one, other] == (gap < travel.least.get(pair, 0.0) or (same and gap <= 0))
    assert not impossible(make([1, 1], [0, 10], [5, 20]), travel)[0, 1]
    assert impossible(make([1, 1], [0, 10], [5, 20]), travel, same_camera=False)[0, 1]


def test_travel_times_are_fitted_to_known_vehicles():
    rng = np.random.default_rng()
    gaps = rng.uniform(20, 60, 300)
    first = np.stack([1000.0 * np.arange(300), 1000.0 * np.arange(300) + 5 + gaps], axis=1).ravel()
    tracks = make([4, 2] * 300, first, first + 5, np.repeat(np.arange(300), 2))
    fitted = TravelTimes.fit(tracks)
    assert fitted.least[2, 4] == pytest.approx(np.quantile(gaps, 0.01))
    few = TravelTimes.fit(make([4, 2, 4, 2], [0, 25, 1000, 1045], [5, 30, 1005, 1050], [1, 1, 2, 2]))
    assert 10 <= few.least[2, 4] < 20  # half of the quickest
    matrix = fitted.between(np.array([4, 2, 9]))
    np.testing.assert_allclose(matrix, [[0, fitted.least[2, 4], 0], [fitted.least[2, 4], 0, 0], [0, 0, 0]])


def test_distances_are_cosine_and_the_paper_s_term():
    tracks = make([1, 2, 3], [0, 100, 400], [10, 120, 410])
    plain = link_distances(tracks)
    roads = pd.DataFrame([[0, 100, 250], [100, 0, 170], [250, 170, 0]], index=[1, 2, 3], columns=[1, 2, 3], dtype=float)
    trips = TripModel(LogNormal(5.0, 0.5), LogNormal(4.8, 0.7))
    with_term = link_distances(tracks, trips=trips, camera_distances=roads, weight=0.3)
    rows, middle = np.arange(3), (tracks.first + tracks.last) / 2
    term = SpatioTemporalTerm(
        (rows, rows), (middle, middle), trips, roads.to_numpy(), torch.device("cpu"), parts=("spatial", "temporal")
    )
    for one, other in itertools.product(range(3), repeat=2):
        cosine = float(tracks.features[one].astype(float) @ tracks.features[other])
        assert plain[one, other] == pytest.approx(1 - cosine, abs=1e-6)
        of_pair = float(term.measure(torch.tensor([[one]]), torch.tensor([[other]])))
        assert with_term[one, other] == pytest.approx(1 - cosine + 0.3 * of_pair / 2, abs=1e-5)


def slow_idf1(vehicles, groups, cameras):
    """Of images: one vehicle with one group so that most images agree, both of several cameras only."""
    several = lambda labels: {  # noqa: E731
        label for label in labels.tolist() if len(set(cameras[labels == label].tolist())) > 1
    }
    real, found = sorted(several(vehicles)), sorted(several(groups))
    counts = np.array([[((vehicles == v) & (groups == g)).sum() for g in found] for v in real]).reshape(len(real), -1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    right = counts[rows, columns].sum()
    objects, guesses = np.isin(vehicles, real).sum(), np.isin(groups, found).sum()
    return 2 * right / (objects + guesses), right / guesses, right / objects


def test_scores_against_the_assignment_written_out():
    rng = np.random.default_rng()
    vehicles = rng.integers(0, 8, 60)
    groups = np.where(rng.random(60) < 0.7, vehicles, rng.integers(0, 10, 60))
    cameras = rng.integers(0, 3, 60)
    tracks = make(cameras, range(60), range(60), vehicles)
    scores = link_scores(tracks, groups)
    expected = slow_idf1(vehicles, groups, cameras)
    assert (scores.idf1, scores.idp, scores.idr) == pytest.approx(expected, abs=1e-6)
    perfect = link_scores(tracks, vehicles)
    assert (perfect.idf1, perfect.idp, perfect.idr) == (1, 1, 1)
    none = link_scores(tracks, np.arange(60))
    assert (none.idf1, none.groups) == (0, 0)


def test_the_threshold_with_the_best_pairs_is_chosen():
    basis = np.eye(8, dtype=np.float32)
    vehicles = np.repeat(np.arange(4), 5)
    noise = 0.05 * np.random.default_rng().normal(size=(20, 8))
    features = F.normalize(torch.from_numpy((basis[vehicles] + noise).astype(np.float32))).numpy()
    cameras = np.arange(20) % 3
    tracks = make(cameras, 100 * np.arange(20), 100 * np.arange(20) + 1, vehicles, features)
    distance, never = link_distances(tracks), impossible(tracks, TravelTimes({}))
    candidates = [0.001, 0.2, 0.5, 3.0]
    best = choose_threshold(distance, never, tracks, candidates)
    scores = {t: pair_f1(cluster(distance, never, t), tracks) for t in candidates}
    assert scores[best] == max(scores.values()) > 0.9
    same = np.array([[a == b for a in vehicles] for b in vehicles])
    groups = cluster(distance, never, 0.2)
    together = np.array([[a == b for a in groups] for b in groups])
    off = np.array([[a != b for a in cameras] for b in cameras])
    right = (same & together & off).sum()
    precision, recall = right / max((together & off).sum(), 1), right / (same & off).sum()
    assert scores[0.2] == pytest.approx(2 * precision * recall / (precision + recall))


def test_trips_are_sightings_in_order_of_time():
    tracks = make([3, 1, 2, 1], [50, 0, 20, 0], [60, 10, 30, 1])
    trips = trips_table(tracks, np.array([7, 7, 7, 8]))
    assert trips["camera_id"].tolist() == [1, 2, 3]
    assert set(trips["global_id"]) == {7}
    np.testing.assert_allclose(trips["since"], [np.nan, 10, 20])


@pytest.fixture
def galleries(tmp_path):
    """Two galleries of one checkpoint: vehicles that pass three cameras, 30 s apart."""
    rng = np.random.default_rng(5)

    def write(name, vehicles, **meta):
        base = np.linalg.qr(rng.normal(size=(32, 32)))[0]
        rows, features = [], []
        for vehicle, camera, image in itertools.product(range(vehicles), (1, 2, 3), (0, 1)):
            rows.append((vehicle, camera, 10 * vehicle + camera, 40.0 * vehicle + 30 * camera + image))
            features.append(base[vehicle] + 0.05 * rng.normal(size=32))
        names = ("vehicle_id", "camera_id", "track_id", "timestamp")
        columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
        columns["path"] = [f"{number}.jpg" for number in range(len(rows))]
        table = make_table(tmp_path, "cars", columns | {"split": "gallery"})
        features = F.normalize(torch.tensor(np.array(features), dtype=torch.float32))
        about = record_of(GalleryMeta, {"checkpoint_sha": "a", "time_unit": "s"} | meta)
        write_embeddings(tmp_path / name, Embeddings(features, np.arange(len(rows)), table, None, about))
        return tmp_path / name

    return write


@pytest.fixture
def link(composed):
    return lambda *overrides: link_run.run(composed(*overrides, config="link"))


def test_a_gallery_is_linked_with_thresholds_of_training_vehicles(galleries, link):
    test, train = galleries("test", 10), galleries("train", 12)
    scores = link(f"index={test}", f"fit={train}")
    assert scores.idf1 > 0.95
    links = read_links(test)
    assert len(links) == 30
    assert len({links[10 * vehicle + camera] for vehicle in range(10) for camera in (1, 2, 3)}) >= 10
    trips = pd.read_csv(test / "trips.csv")
    assert list(trips.columns) == ["global_id", "track_id", "camera_id", "first", "last", "since"]
    said = json.loads((test / "links.json").read_text())
    assert said["scores"]["idf1"] == scores.idf1
    assert said["tracks"] == 30
    assert 0 < said["threshold"] <= 1


def test_given_travel_times_forbid_quicker_trips(galleries, link, tmp_path):
    test = galleries("test", 6)
    assert link(f"index={test}", "threshold=0.4").idf1 == 1
    (tmp_path / "travel.csv").write_text("camera_a,camera_b,least\n2,1,1000\n2,3,1000\n1,3,1000\n")
    assert link(f"index={test}", "threshold=0.4", f"travel={tmp_path}/travel.csv").groups == 0
    assert len(set(read_links(test).values())) == 18


def test_a_probability_is_a_threshold(galleries, link):
    curve, fit = EvidenceCurve((-1.0, 1.0), (-20.0, 20.0)), Fit("logistic", "put aside", 9, 90, 100, 900, 5.0, {})
    test = galleries("test", 6, calibration=as_plain(Calibration(curve, {}, fit)))
    link(f"index={test}", "min_probability=0.9")
    prior = 5 / 36
    score = np.log(9) / 20 - np.log(prior / (1 - prior)) / 20
    assert json.loads((test / "links.json").read_text())["threshold"] == pytest.approx(1 - score)
    link(f"index={test}", "min_probability=0.9", "prior=0.5")
    assert json.loads((test / "links.json").read_text())["threshold"] == pytest.approx(1 - np.log(9) / 20)
    with pytest.raises(ConfigError, match=r"min_probability=0.9 is never reached: for prior=1e-09 .* is 0.327"):
        link(f"index={test}", "min_probability=0.9", "prior=1e-9")


def test_only_a_part_of_the_time_is_linked(galleries, link):
    test = galleries("test", 6)
    link(f"index={test}", "threshold=0.4", "before=100")
    trips = pd.read_csv(test / "trips.csv")
    assert trips["first"].max() <= 100
    assert len(set(read_links(test))) == 18  # the others are vehicles of their own


def test_wrong_options_are_refused(galleries, link, tmp_path):
    test, other = galleries("test", 6), galleries("other", 6, checkpoint_sha="b")
    few = galleries("few", 3)
    (tmp_path / "travel.csv").write_text("from,to,least\n1,2,3\n")
    for overrides, sentence in (
        ([], "Pass threshold=.*min_probability=.* or fit="),
        (["threshold=0.3", "weight=0.1"], "weight=0.1 needs fit="),
        ([f"fit={other}"], "embedded by another checkpoint"),
        ([f"fit={few}"], "has 3 vehicles .* expected at least 4"),
        (["threshold=0.3", f"travel={tmp_path}/travel.csv"], "expected camera_a, camera_b, least|cannot be read"),
        (["threshold=0.3", "min_probability=0.9"], "threshold and min_probability say which groups become one"),
        (["threshold=0.3", "prior=0.9"], "prior is for min_probability"),
        (["min_probability=0.9"], "has no calibration"),
        (["threshold=0.3", "after=1e9"], "has no track whose camera and time are known"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            link(f"index={test}", *overrides)
    assert not (test / "links.csv").exists()
