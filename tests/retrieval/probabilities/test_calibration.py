"""Evidence and probabilities: against a slow pooling of violators, and what must hold for any scores."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from src.retrieval.probabilities.calibration import Calibration, EvidenceCurve, Fit, log_odds
from src.retrieval.probabilities.calibration_fit import TooFewPairs, fit_calibration, fit_curve
from src.retrieval.probabilities.score_counts import GRID, ScoreCounts, count_pairs

FIT = Fit("isotonic", "put aside", 9, 90, 100, 900, 9.0, {})


@pytest.fixture(params=range(3))
def scores(request):
    rng = np.random.default_rng(request.param)
    same, different = (
        np.round(rng.normal(mean, 0.2, count).clip(-0.99, 0.99), 2) for mean, count in ((0.5, 60), (0, 300))
    )
    return same, different


def slow_isotonic(same, different):
    """Share of pairs of one vehicle at each score, by joining neighbours that decrease until none do."""
    blocks = [[1.0, 1.0]]  # of each: of one vehicle, of two; one of each beyond either end
    values = sorted({*same, *different})
    blocks += [[float(sum(same == v)), float(sum(different == v))] for v in values] + [[1.0, 1.0]]
    owners = [[i] for i in range(len(blocks))]
    place = 0
    while place < len(blocks) - 1:
        (a, b), (c, d) = blocks[place], blocks[place + 1]
        if a / (a + b) >= c / (c + d):
            blocks[place : place + 2], owners[place : place + 2] = [[a + c, b + d]], [owners[place] + owners[place + 1]]
            place = max(0, place - 1)
        else:
            place += 1
    share = {i: a / (a + b) for (a, b), own in zip(blocks, owners, strict=True) for i in own}
    return values, [share[i + 1] for i in range(len(values))]


def test_isotonic_is_slow_pooling(scores):
    same, different = scores
    values, share = slow_isotonic(same, different)
    prior = math.log((len(same) + 2) / (len(different) + 2))
    expected = [math.log(p / (1 - p)) - prior for p in share]
    np.testing.assert_allclose(fit_curve("isotonic", ScoreCounts.of(same, different))(values), expected, atol=1e-9)


def test_logistic_is_platts_likelihood(scores):
    same, different = scores
    high, low = (len(same) + 1) / (len(same) + 2), 1 / (len(different) + 2)

    def surprise(line):
        odds = line[0] * np.concatenate([same, different]) + line[1]
        target = np.repeat([high, low], [len(same), len(different)])
        return (target * np.logaddexp(0, -odds) + (1 - target) * np.logaddexp(0, odds)).sum()

    slope, offset = minimize(surprise, [1.0, 0.0], tol=1e-10).x
    expected = slope * GRID + offset - math.log(len(same) / len(different))
    np.testing.assert_allclose(
        fit_curve("logistic", ScoreCounts.of(same, different))(GRID), expected, rtol=2e-3, atol=2e-3
    )


@pytest.mark.parametrize("kind", ["isotonic", "logistic"])
def test_a_higher_score_never_says_less(scores, kind):
    evidence = fit_curve(kind, ScoreCounts.of(*scores))(GRID)
    assert np.isfinite(evidence).all()
    assert (np.diff(evidence) >= 0).all()
    backwards = fit_curve(kind, ScoreCounts.of(*scores[::-1]))(GRID)  # a model that is wrong says nothing, or little
    assert (np.diff(backwards) >= 0).all()


def test_isotonic_evidence_depends_on_the_order_of_the_scores_alone(scores):
    same, different = scores
    curve = fit_curve("isotonic", ScoreCounts.of(same, different))
    bent = fit_curve("isotonic", ScoreCounts.of(same**3, different**3))  # 0.01 is 1e-6: told apart by sign alone
    far = np.array([v for v in {*same, *different} if abs(v) > 0.2])
    np.testing.assert_allclose(bent(np.round(far**3, 4)), curve(far), atol=0.35)
    halved = fit_curve("isotonic", ScoreCounts.of(same / 2, different / 2))
    np.testing.assert_allclose(halved(far / 2), curve(far), atol=1e-9)


def test_isotonic_evidence_does_not_depend_on_the_share_of_right_pairs(scores):
    same, different = scores
    once = fit_curve("isotonic", ScoreCounts.of(np.tile(same, 50), np.tile(different, 50)))
    more = fit_curve("isotonic", ScoreCounts.of(np.tile(same, 50), np.tile(different, 500)))
    middle = np.unique(np.round(np.quantile(np.concatenate(scores), np.linspace(0.2, 0.9, 15)), 2))
    np.testing.assert_allclose(once(middle), more(middle), atol=0.05)  # but for the two pairs that are added


@pytest.mark.parametrize("kind", ["isotonic", "logistic"])
def test_classes_that_no_score_tells_apart_and_those_that_one_does(kind):
    one = np.full(50, 0.3)
    assert fit_curve(kind, ScoreCounts.of(one, np.tile(one, 10)))([-1, 0.3, 1]) == pytest.approx([0, 0, 0], abs=0.05)
    apart = fit_curve(kind, ScoreCounts.of(one + 0.5, one))([0.3, 0.8])
    assert np.isfinite(apart).all()
    assert apart[0] < -2 < 2 < apart[1]


def test_the_prior_moves_log_odds():
    calibration = Calibration(EvidenceCurve((0.0, 1.0), (-3.0, 5.0)), {}, FIT)
    for prior in (0.01, 0.5, 0.9):
        said = calibration.probability([0.25, 2.0], prior)
        odds = prior / (1 - prior) * np.exp([-1.0, 5.0])
        np.testing.assert_allclose(said, odds / (1 + odds))
    with pytest.raises(ValueError, match=r"prior is 0, expected a number above 0 and below 1"):
        calibration.probability(0.5, 0)


def test_the_least_score_of_a_probability(scores):
    for kind in ("isotonic", "logistic"):
        calibration = Calibration(fit_curve(kind, ScoreCounts.of(*scores)), {}, FIT)
        for probability in (0.1, 0.5, 0.8):
            least = calibration.least_score(probability, 0.3)
            if math.isfinite(least):
                assert calibration.probability(least, 0.3) >= probability - 1e-9
                assert calibration.probability(least - 0.02, 0.3) <= probability
    steps = Calibration(EvidenceCurve((0.0, 0.5), (-1.0, 1.0)), {}, FIT)
    assert steps.least_score(0.9) == math.inf
    assert steps.least_score(0.1) == -1


def test_pairs_of_known_domains_have_their_own_curve():
    curves = {"day night": EvidenceCurve((0.0, 1.0), (1.0, 1.0)), "night night": EvidenceCurve((0.0, 1.0), (2.0, 2.0))}
    calibration = Calibration(EvidenceCurve((0.0, 1.0), (0.0, 0.0)), curves, FIT)
    others = np.array(["day", "night", ""], dtype=object)
    assert calibration.evidence([0.5] * 3, "night", others).tolist() == [1, 2, 0]
    assert calibration.evidence([0.5] * 3, "day", others).tolist() == [0, 1, 0]
    assert calibration.evidence(np.full((2, 3), 0.5), others[:2, None], others).tolist() == [[0, 1, 0], [1, 2, 0]]
    assert calibration.evidence(0.5) == 0


def cars(rng, vehicles=12, images=6, noise=1.0):
    ids = np.repeat(np.arange(vehicles), images)
    features = rng.normal(size=(vehicles, 16))[ids] + noise * rng.normal(size=(len(ids), 16))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cameras, domains = rng.integers(-1, 3, len(ids)), rng.choice(np.array(["day", "night", ""], dtype=object), len(ids))
    return features.astype(np.float32), ids, cameras, domains


def test_pairs_are_counted_once_without_those_of_a_vehicle_at_a_camera(monkeypatch):
    monkeypatch.setattr("src.retrieval.probabilities.score_counts._BLOCK", 7)
    features, ids, cameras, domains = cars(np.random.default_rng(0))
    found = count_pairs(features, ids, cameras, domains)
    expected = {kind: ([], []) for kind in ("", "day day", "day night", "night night")}
    for i in range(len(ids)):
        for j in range(i + 1, len(ids)):
            if ids[i] == ids[j] and cameras[i] == cameras[j] >= 0:
                continue
            score = round(float(features[i].astype(np.float64) @ features[j].astype(np.float64)), 4)
            for kind in {"", " ".join(sorted((domains[i], domains[j])))} & expected.keys():
                expected[kind][int(ids[i] != ids[j])].append(score)
    assert found.keys() == expected.keys()
    for kind, (same, different) in expected.items():
        assert found[kind].total == (len(same), len(different))
        for counts, scores in ((found[kind].same, same), (found[kind].different, different)):
            # float32 may round a score to the next place
            np.testing.assert_allclose(np.repeat(GRID, counts), sorted(scores), atol=1.01e-4)


def test_the_kind_that_is_better_on_other_vehicles_is_taken():
    features, ids, cameras, domains = cars(np.random.default_rng(1), vehicles=40, images=12)
    calibration = fit_calibration(features, ids, cameras, domains, "put aside", 5.0)
    fit = calibration.fit
    assert fit.errors.keys() == {"isotonic", "logistic"}
    assert fit.kind == min(fit.errors, key=lambda kind: fit.errors[kind].cllr)
    assert (fit.vehicles, fit.images, fit.source, fit.matches) == (40, 480, "put aside", 5.0)
    assert "day night" in calibration.by_domains
    assert 0 < fit.errors[fit.kind].ece < 0.1


def test_too_few_vehicles_are_refused_in_words():
    features, ids, cameras, domains = cars(np.random.default_rng(0), vehicles=7)
    with pytest.raises(TooFewPairs, match=r"there are 7 vehicles with \d+ pairs"):
        fit_calibration(features, ids, cameras, domains, "trained on", 5.0)
    one_class = np.arange(len(ids))
    with pytest.raises(TooFewPairs, match=r"with 0 pairs of images that a query shall find"):
        fit_calibration(features, one_class, cameras, domains, "trained on", 5.0)
    with pytest.raises(TooFewPairs, match=r"there are 1 vehicles"):
        fit_calibration(features, np.zeros_like(ids), cameras, domains, "trained on", 5.0)


def test_the_prior_of_a_gallery():
    calibration = Calibration(EvidenceCurve((0.0, 1.0), (0.0, 0.0)), {}, FIT)
    assert calibration.prior_of(900) == pytest.approx(0.01)  # nine matches
    assert calibration.prior_of(3) == 0.5
    assert calibration.prior_of(900, 0.2) == 0.2
    with pytest.raises(ValueError, match=r"prior is 1\.0"):
        calibration.prior_of(900, 1.0)
    assert log_odds(0.5) == 0
