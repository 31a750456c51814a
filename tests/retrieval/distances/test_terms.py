"""Distance terms against plain loops, on any rows of the two sets."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from src.retrieval import (
    Falling,
    FeatureDistance,
    LogNormal,
    Mismatch,
    SameGroupFilter,
    SpatioTemporalRelation,
    SpatioTemporalTerm,
    Sum,
    TimeFilter,
    TripModel,
    as_euclidean,
    trips,
)
from src.retrieval.distances.terms import Part

CPU = torch.device("cpu")
ROWS, COLUMNS = 7, 11


def check_everywhere(term, expected):
    """A term gives the same numbers for blocks of any rows and for single pairs."""
    expected = torch.tensor(expected, dtype=torch.float32)
    assert term.shape == (ROWS, COLUMNS)
    torch.testing.assert_close(term.block(slice(0, ROWS), slice(0, COLUMNS)), expected)
    rows, columns = torch.tensor([6, 0, 3]), torch.tensor([1, 10, 1, 5])
    torch.testing.assert_close(term.block(rows, columns), expected[rows][:, columns])
    torch.testing.assert_close(term.block(slice(2, 5), slice(3, 11)), expected[2:5, 3:11])
    torch.testing.assert_close(term.pairs(rows, columns[:3]), expected[rows, columns[:3]])


def test_mismatch_penalises_known_labels_that_differ():
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(-1, 3, ROWS), rng.integers(-1, 3, COLUMNS)
    expected = [[0.3 if a != b and a >= 0 and b >= 0 else 0.0 for b in columns] for a in rows]
    check_everywhere(Mismatch(rows, columns, 0.3, CPU), expected)


def test_filters_make_what_they_take_out_infinitely_far():
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(-1, 3, ROWS), rng.integers(-1, 3, COLUMNS)
    expected = [[math.inf if a == b and a >= 0 else 0.0 for b in columns] for a in rows]
    check_everywhere(SameGroupFilter(rows, columns, CPU), expected)
    times, other_times = rng.integers(0, 60, ROWS) + 1e9, rng.integers(0, 60, COLUMNS) + 1e9  # beyond float32
    other_times[4] = np.nan
    expected = [[math.inf if abs(a - b) > 20 else 0.0 for b in other_times] for a in times]
    check_everywhere(TimeFilter(times, other_times, 20, CPU), expected)


def test_sums_add_up_with_their_weights():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(ROWS, 4)).astype(np.float32), rng.normal(size=(COLUMNS, 4)).astype(np.float32)
    rows, columns = rng.integers(0, 3, ROWS), rng.integers(0, 3, COLUMNS)
    expected = [
        [2 * np.linalg.norm(f - g) + 0.5 * (a != b) for g, b in zip(features[1], columns, strict=True)]
        for f, a in zip(features[0], rows, strict=True)
    ]
    check_everywhere(Sum([FeatureDistance(*features), Mismatch(rows, columns, 1, CPU)], [2, 0.5]), expected)
    with pytest.raises(ValueError, match="cannot be added"):
        Sum([FeatureDistance(*features), FeatureDistance(features[1], features[0])])
    with pytest.raises(ValueError, match="1 weights for 2 distances"):
        Sum([FeatureDistance(*features)] * 2, [1])


def test_a_part_is_queries_against_the_rest():
    features = np.random.default_rng(3).normal(size=(18, 4)).astype(np.float32)
    part = Part(FeatureDistance(features, features), 7)
    assert part.shape == (7, 11)
    expected = FeatureDistance(features[:7], features[7:])
    everywhere = slice(0, 7), slice(0, 11)
    torch.testing.assert_close(part.block(*everywhere), expected.block(*everywhere))
    some = torch.tensor([5, 5, 0]), torch.tensor([10, 0])
    torch.testing.assert_close(part.block(*some), expected.block(*some))


@pytest.mark.parametrize("metric", ["squared", "cosine", "angle", "euclidean"])
def test_a_threshold_means_the_same_in_every_metric(metric):
    rng = np.random.default_rng(4)
    features = rng.normal(size=(60, 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosine = (features @ features.T).clip(-1, 1)
    euclidean = np.linalg.norm(features[:, None] - features, axis=2)
    expected = {
        "euclidean": euclidean,
        "squared": euclidean**2,
        "cosine": 1 - cosine,
        "angle": np.arccos(cosine),
    }[metric]
    distance = FeatureDistance(features, features, metric)
    block = distance.block(slice(0, 60), slice(0, 60)).numpy()
    np.testing.assert_allclose(block, expected, atol=2e-3)  # acos and sqrt near 0 magnify the product's rounding
    one, other = torch.triu_indices(60, 60, 1)
    np.testing.assert_allclose(distance.pairs(one, other), expected[one, other], rtol=1e-5, atol=1e-6)
    for threshold in (0.1, 0.7, 1.5):
        np.testing.assert_array_equal(expected < threshold, euclidean < as_euclidean(threshold, metric))


def test_as_euclidean_refuses_what_is_no_metric():
    with pytest.raises(ValueError, match="metric is 'taxicab'"):
        as_euclidean(1.0, "taxicab")


# --- The spatio-temporal term


def density(value, mu, sigma):
    """The log-normal density as the paper prints it."""
    return math.exp(-((math.log(value) - mu) ** 2) / (2 * sigma**2)) / (value * math.sqrt(2 * math.pi) * sigma)


def test_log_normal_is_the_maximum_likelihood_fit():
    values = np.random.default_rng(5).lognormal(2.0, 0.7, 5000)
    fit = LogNormal.fit(np.append(values, [0.0, 0.0]))
    assert (fit.mu, fit.sigma) == pytest.approx((np.log(values).mean(), np.log(values).std()))

    def likelihood(mu, sigma):
        return sum(math.log(density(value, mu, sigma)) for value in values)

    best = likelihood(fit.mu, fit.sigma)
    for mu, sigma in ((0.02, 0), (-0.02, 0), (0, 0.02), (0, -0.02)):
        assert likelihood(fit.mu + mu, fit.sigma + sigma) < best
    with pytest.raises(ValueError, match="cannot be fitted to 1 positive values of 3"):
        LogNormal.fit([0, 0, 4])


def test_density_is_that_of_the_paper_and_one_at_its_mode():
    fit = LogNormal(1.3, 0.6)
    values = torch.rand(50, dtype=torch.float64) * 30 + 0.01
    raw = [density(float(value), 1.3, 0.6) for value in values]
    torch.testing.assert_close(fit.density(values, "raw"), torch.tensor(raw, dtype=torch.float64))
    mode = math.exp(1.3 - 0.6**2)
    assert fit.peak == pytest.approx(density(mode, 1.3, 0.6))
    relative = torch.tensor(raw, dtype=torch.float64) / fit.peak
    torch.testing.assert_close(fit.density(values, "mode"), relative)
    zero_and_mode = torch.tensor([0.0, mode])
    assert fit.density(zero_and_mode, "mode").tolist() == pytest.approx([0, 1])
    assert fit.density(zero_and_mode, "raw").tolist() == pytest.approx([0, fit.peak])
    assert fit.density(torch.tensor([1e-30]), "mode").tolist() == pytest.approx([0])  # its limit
    assert fit.density(zero_and_mode, "mode", at_zero="peak").tolist() == pytest.approx([1, 1])
    assert fit.density(zero_and_mode, "raw", at_zero="peak").tolist() == pytest.approx([fit.peak, fit.peak])


def sightings(rng, count):
    ids, cameras = rng.integers(0, 4, count), rng.integers(0, 3, count)
    return ids, cameras, rng.integers(0, 1000, count).astype(float)


ROADS = np.array([[0.0, 300, 900], [300, 0, 500], [900, 500, 0]])


def test_trips_are_all_pairs_of_one_vehicle_in_two_cameras():
    ids, cameras, times = sightings(np.random.default_rng(6), 40)
    gaps, distances = trips(ids, cameras, times, ROADS)
    expected = [
        (abs(times[i] - times[j]), ROADS[cameras[i], cameras[j]])
        for i in range(40)
        for j in range(i)
        if ids[i] == ids[j] and cameras[i] != cameras[j]
    ]
    assert sorted(zip(gaps, distances, strict=True)) == sorted(expected)
    assert trips(ids, cameras, times)[1] is None
    assert [len(part) for part in trips([], [], [], ROADS)] == [0, 0]


def test_records_that_are_not_known_whole_are_left_out_of_the_fit():
    ids, cameras, times = sightings(np.random.default_rng(8), 40)
    numbers = [4, 5, 9]
    roads = pd.DataFrame(ROADS, index=numbers, columns=numbers)
    records = pd.DataFrame({"vehicle_id": ids, "camera_id": np.array(numbers)[cameras], "timestamp": times})
    unknown = records.iloc[:3].copy()
    unknown.iloc[0, 0] = unknown.iloc[1, 1] = -1
    unknown.iloc[2, 2] = np.nan
    assert TripModel.fit_records(pd.concat([unknown, records]), roads) == TripModel.fit(ids, cameras, times, ROADS)
    assert TripModel.fit_records(records).spatial is None
    assert TripModel.fit_records(records.iloc[:1], roads) is None
    assert TripModel.fit_records(records.assign(camera_id=77), roads) is None


@pytest.mark.parametrize("at_zero", ["vanish", "peak"])
@pytest.mark.parametrize("kind", ["mode", "raw"])
@pytest.mark.parametrize("parts", [("spatial", "temporal"), ("temporal",), ("spatial",)])
def test_the_term_is_that_of_the_paper(parts, kind, at_zero):
    rng = np.random.default_rng(7)
    model = TripModel.fit(*sightings(rng, 60), ROADS)
    _, *rows = sightings(rng, ROWS)
    _, *columns = sightings(rng, COLUMNS)
    columns[1][3] = rows[1][2]  # at the same moment

    def implausible(value, fit, slope, shift):
        relative = density(value, fit.mu, fit.sigma) / fit.peak if value > 0 else float(at_zero == "peak")
        return 1 / (1 + math.exp(slope * (relative * (fit.peak if kind == "raw" else 1) - shift)))

    expected = [
        [
            ("spatial" in parts) * implausible(ROADS[camera, other], model.spatial, 4, 0.3)
            + ("temporal" in parts) * implausible(abs(time - moment), model.temporal, 0.5, 0.7)
            for other, moment in zip(*columns, strict=True)
        ]
        for camera, time in zip(*rows, strict=True)
    ]
    cameras, times = zip(rows, columns, strict=True)
    curves = {"spatial": Falling(4, 0.3), "temporal": Falling(0.5, 0.7)}
    term = SpatioTemporalTerm(cameras, times, model, ROADS, CPU, **curves, density=kind, at_zero=at_zero, parts=parts)
    check_everywhere(term, expected)


def test_the_relation_of_veris_authors_is_the_product_of_gap_and_road():
    rng = np.random.default_rng(9)
    _, *rows = sightings(rng, ROWS)
    _, *columns = sightings(rng, COLUMNS)
    expected = [
        [abs(time - moment) / 1234 * ROADS[camera, other] / 900 for other, moment in zip(*columns, strict=True)]
        for camera, time in zip(*rows, strict=True)
    ]
    cameras, times = zip(rows, columns, strict=True)
    check_everywhere(SpatioTemporalRelation(cameras, times, ROADS, 1234, CPU), expected)
    at_once = SpatioTemporalRelation(cameras, (np.zeros(ROWS), np.zeros(COLUMNS)), ROADS, 0, CPU)
    check_everywhere(at_once, np.zeros((ROWS, COLUMNS)))


def test_impossible_spatio_temporal_terms_are_refused():
    model = TripModel.fit([1, 1, 1], [0, 1, 0], [5, 9, 30])
    sides = ([0], [1]), ([3.0], [4.0])
    with pytest.raises(ValueError, match="needs the road distances"):
        SpatioTemporalTerm(*sides, model, None, CPU)
    with pytest.raises(ValueError, match="density is 'median'"):
        SpatioTemporalTerm(*sides, model, None, CPU, density="median")
    with pytest.raises(ValueError, match="at_zero is 'one'"):
        SpatioTemporalTerm(*sides, model, None, CPU, at_zero="one")
    with pytest.raises(ValueError, match=r"parts is \['place'\]"):
        SpatioTemporalTerm(*sides, model, None, CPU, parts=("place",))


@pytest.mark.parametrize("metric", ["cosine", "angle"])
def test_a_zero_feature_is_at_a_right_angle_to_everything(metric):
    features = torch.tensor([[0.0, 0], [3, 4], [1, 0]])
    distance = FeatureDistance(features, features, metric)
    expected = [1.0] * 3 if metric == "cosine" else [math.pi / 2] * 3
    torch.testing.assert_close(distance.block(slice(0, 1), slice(0, 3))[0], torch.tensor(expected))
    pairs = distance.pairs(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 0]))
    torch.testing.assert_close(pairs, torch.tensor(expected))
