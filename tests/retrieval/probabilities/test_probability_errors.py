"""Errors of probabilities against loops over single pairs in float64."""

import math

import numpy as np
import pytest

from src.retrieval.probabilities.probability_errors import (
    BINS,
    cost_of_evidence,
    expected_calibration_error,
    false_non_match,
    measure_errors,
    refusal,
    reliability,
)
from src.retrieval.probabilities.score_counts import ScoreCounts


@pytest.fixture(params=range(3))
def rng(request):
    return np.random.default_rng(request.param)


def slow_ece(said, same, weights):
    total, error = sum(weights), 0.0
    for number in range(BINS):
        inside = [i for i, p in enumerate(said) if min(int(p * BINS), BINS - 1) == number]
        weight = sum(weights[i] for i in inside)
        if weight:
            mean = sum(weights[i] * said[i] for i in inside) / weight
            right = sum(weights[i] * same[i] for i in inside) / weight
            error += weight / total * abs(mean - right)
    return error


def test_calibration_error_is_that_of_loops(rng):
    said = np.append(rng.random(200), [0.0, 1.0])
    same = rng.random(202) < said**2
    weights = rng.random(202)
    assert expected_calibration_error(reliability(said, same)) == pytest.approx(slow_ece(said, same, [1] * 202))
    weighted = expected_calibration_error(reliability(said, same, weights))
    assert weighted == pytest.approx(slow_ece(said, same, weights))


@pytest.mark.parametrize("share", [None, 0.5, 0.01])
def test_errors_are_those_of_loops(rng, share):
    evidence, same, different = rng.normal(0, 3, 50), rng.integers(0, 5, 50), rng.integers(0, 9, 50)
    errors, bins = measure_errors(evidence, same, different, prior=0.2, share=share)
    pairs = [(e, True) for e, n in zip(evidence, same, strict=True) for _ in range(n)]
    pairs += [(e, False) for e, n in zip(evidence, different, strict=True) for _ in range(n)]
    weight = (
        {True: 1.0, False: 1.0} if share is None else {True: share / same.sum(), False: (1 - share) / different.sum()}
    )
    weights = [weight[right] for _, right in pairs]
    said = [1 / (1 + math.exp(-(e + math.log(0.2 / 0.8)))) for e, _ in pairs]
    brier = sum(w * (p - right) ** 2 for w, p, (_, right) in zip(weights, said, pairs, strict=True)) / sum(weights)
    assert errors.brier == pytest.approx(brier)
    assert errors.ece == pytest.approx(slow_ece(said, [right for _, right in pairs], weights))
    assert errors.pairs == len(pairs)
    assert errors.share == pytest.approx(same.sum() / len(pairs) if share is None else share)
    assert bins.weight.sum() == pytest.approx(1)
    bits = [math.log2(1 + math.exp(-e if right else e)) for e, right in pairs]
    missed, false = (
        np.mean([b for b, (_, right) in zip(bits, pairs, strict=True) if right is k]) for k in (True, False)
    )
    assert errors.cllr == pytest.approx((missed + false) / 2)


def test_evidence_that_says_nothing_costs_one_bit_and_an_empty_class_has_no_cost():
    ones = np.ones(4, dtype=np.int64)
    assert cost_of_evidence(np.zeros(4), ones, ones) == pytest.approx(1)
    assert math.isnan(cost_of_evidence(np.zeros(4), 0 * ones, ones))


@pytest.mark.parametrize("rate", [0.0, 1e-2, 0.1, 1.0])
def test_false_non_match_is_that_of_a_loop_over_thresholds(rng, rate):
    same, different = (
        np.round(rng.normal(0.5, 0.2, 80), 2).clip(-1, 1),
        np.round(rng.normal(0.2, 0.2, 150), 2).clip(-1, 1),
    )
    thresholds = [*sorted({*same, *different}), 2.0]
    lowest = next(t for t in thresholds if sum(s >= t for s in different) <= rate * len(different))
    expected = sum(s < lowest for s in same) / len(same)
    assert false_non_match(ScoreCounts.of(same, different), rate) == pytest.approx(expected)


def test_without_a_class_there_is_no_false_non_match():
    some = np.array([0.5])
    assert math.isnan(false_non_match(ScoreCounts.of(some[:0], some), 0.01))
    assert math.isnan(false_non_match(ScoreCounts.of(some, some[:0]), 0.01))


def test_refusal_is_counted(rng):
    nearest, absent = rng.random(60), rng.random(60) < 0.5
    said = refusal(nearest, absent, 0.1)
    right = sum(p < 0.5 and gone for p, gone in zip(nearest, absent, strict=True))
    precision, recall = right / sum(p < 0.5 for p in nearest), right / sum(absent)
    assert (said.precision, said.recall) == pytest.approx((precision, recall))
    assert said.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    nobody = refusal(nearest, np.zeros(60, dtype=bool), 0.1)
    assert (nobody.f1, nobody.precision, nobody.recall) == (0, 0, 0)
