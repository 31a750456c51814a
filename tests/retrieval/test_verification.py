"""Verification rates against counting all pairs, one at a time."""

import json

import numpy as np
import pytest
import torch

from src.retrieval import FeatureDistance, Relevance, VerificationSummary, verify
from src.runtime.json_files import as_plain, record_of

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


class Task:
    """Random labels and distances; few levels make ties, and some pairs are filtered."""

    def __init__(self, seed, levels=10**6, filtered=0.0, n_queries=17, n_gallery=60):
        rng = np.random.default_rng(seed)
        self.ids = rng.integers(0, 6, n_queries), rng.integers(-1, 6, n_gallery)
        self.cameras = rng.integers(0, 3, n_queries), rng.integers(0, 3, n_gallery)
        same = self.ids[0][:, None] == self.ids[1]
        values = rng.integers(0, levels, same.shape) / levels + 0.3 * ~same
        values[rng.random(same.shape) < filtered] = np.inf
        self.values = values.astype(np.float32)
        self.relevance = Relevance(
            *self.ids, query_cameras=self.cameras[0], gallery_cameras=self.cameras[1], ignore="same_camera"
        )
        self.positives, self.negatives = [], []
        for q, row in enumerate(self.values):
            for g, value in enumerate(row):
                if self.ids[0][q] == self.ids[1][g] and self.cameras[0][q] == self.cameras[1][g]:
                    continue
                (self.positives if self.ids[0][q] == self.ids[1][g] else self.negatives).append(float(value))

    def thresholds(self):
        return [-np.inf, *sorted({value for value in self.positives + self.negatives if np.isfinite(value)})]

    def rates(self, threshold):
        """False and true positive rate."""
        return tuple(
            sum(value <= threshold for value in values) / len(values) for values in (self.negatives, self.positives)
        )

    def best(self, fpr):
        """The largest threshold whose false positive rate is small enough."""
        return max(threshold for threshold in self.thresholds() if self.rates(threshold)[0] <= fpr)

    def equal_error(self):
        return min(max(fpr, 1 - tpr) for fpr, tpr in map(self.rates, self.thresholds()))


TASKS = {"distinct": {}, "tied": {"levels": 12}, "filtered": {"filtered": 0.4}, "both": {"levels": 7, "filtered": 0.2}}


@pytest.mark.parametrize("rows_in_block", [1, 5, 17, 100])
@pytest.mark.parametrize("kind", TASKS)
def test_rates_and_thresholds_are_those_of_counting_all_pairs(dense_distance, kind, rows_in_block):
    task = Task(seed=rows_in_block, **TASKS[kind])
    count = len(task.negatives)
    for max_fpr in (0.01, 0.2, 1.0):
        result = verify(
            dense_distance(task.values), task.relevance, max_fpr=max_fpr, block_mb=rows_in_block * 60 * 4 / 2**20
        )
        assert result.n_negatives == count
        np.testing.assert_array_equal(result.positives, np.sort(np.float32(task.positives)))
        assert len(result.negatives) == min(count, int(max_fpr * count) + 1)
        for fpr in (0, 1 / count, 2.5 / count, 0.01, 0.07, 0.2, 5 / count, 0.9, 1):
            if fpr > max_fpr:
                with pytest.raises(ValueError, match=f"expected a rate from 0 to max_fpr={max_fpr}: verify with"):
                    result.tpr(fpr)
                continue
            threshold = result.threshold(fpr)
            assert threshold == task.best(fpr)
            found_fpr, found_tpr = task.rates(threshold)
            assert found_fpr <= fpr
            assert result.tpr(fpr) == found_tpr


@pytest.mark.parametrize("kind", TASKS)
def test_equal_error_rate_is_that_of_trying_all_thresholds(dense_distance, kind):
    task = Task(seed=3, **TASKS[kind])
    expected = task.equal_error()
    rate, threshold = verify(dense_distance(task.values), task.relevance, max_fpr=1.0).equal_error_rate()
    assert rate == pytest.approx(expected, abs=1e-12)
    fpr, tpr = task.rates(threshold)
    assert max(fpr, 1 - tpr) == pytest.approx(expected, abs=1e-12)


def test_equal_error_rate_beyond_the_kept_negatives_is_not_guessed(dense_distance):
    task = Task(seed=4)
    result = verify(dense_distance(task.values), task.relevance, max_fpr=0.01)
    with pytest.raises(ValueError, match=r"rejected at max_fpr=0\.01: raise it"):
        result.equal_error_rate()
    assert result.summary().equal_error is None
    for max_fpr in np.linspace(0.02, 0.9, 12):
        result = verify(dense_distance(task.values), task.relevance, max_fpr=max_fpr)
        try:
            rate, _ = result.equal_error_rate()
        except ValueError:
            assert task.equal_error() >= max_fpr
        else:
            assert rate == pytest.approx(task.equal_error(), abs=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_rates_of_embeddings_on_any_device(device):
    generator = torch.Generator().manual_seed(5)
    ids = torch.arange(40) % 8
    features = torch.randn(40, 6, generator=generator) + 2 * torch.nn.functional.one_hot(ids, 8)[:, :6]
    distance = FeatureDistance(features[:9].to(device), features.to(device))
    result = verify(distance, Relevance(ids[:9], ids), max_fpr=0.5)
    distances = torch.cdist(features[:9].double(), features.double()).numpy()
    same = ids[:9, None].numpy() == ids.numpy()
    for fpr in (0.01, 0.1, 0.5):
        bound = np.sort(distances[~same])[int(fpr * (~same).sum())]
        assert result.tpr(fpr) == pytest.approx((distances[same] < bound).mean())


def test_tied_negatives_are_rejected_together(dense_distance):
    result = verify(dense_distance([[0.1, 0.2, 0.2, 0.2, 0.9]]), Relevance([1], [1, 1, 0, 0, 0]), max_fpr=1)
    assert result.threshold(0.34) == pytest.approx(0.1)  # accepting 0.2 would accept two of three negatives
    assert result.tpr(0.34) == 0.5
    assert result.threshold(0.67) == pytest.approx(0.2)
    assert result.tpr(0.67) == 1


def test_a_product_that_rounds_down_loses_no_pair(dense_distance):
    result = verify(dense_distance([np.arange(101)]), Relevance([1], [0] * 100 + [1]), max_fpr=0.29)
    assert 0.29 * 100 < 29
    assert result.threshold(0.29) == 28  # the 29th


def test_curve_is_the_rates_on_a_logarithmic_axis(dense_distance):
    task = Task(seed=6)
    result = verify(dense_distance(task.values), task.relevance, max_fpr=0.3)
    fpr, tpr = result.curve(50)
    assert fpr[0] == pytest.approx(1 / len(task.negatives))
    assert fpr[-1] == 0.3
    np.testing.assert_allclose(np.diff(np.log(fpr)), np.log(fpr[1] / fpr[0]))
    assert tpr.tolist() == [task.rates(task.best(one))[1] for one in fpr]


def test_summary_is_json(dense_distance):
    task = Task(seed=7)
    summary = verify(dense_distance(task.values), task.relevance, max_fpr=1.0).summary((0.01, 0.5))
    assert record_of(VerificationSummary, json.loads(json.dumps(as_plain(summary), allow_nan=False))) == summary
    assert summary.tpr == {str(fpr): task.rates(task.best(fpr))[1] for fpr in (0.01, 0.5)}
    assert summary.threshold == {str(fpr): task.best(fpr) for fpr in (0.01, 0.5)}
    assert summary.equal_error.rate == pytest.approx(task.equal_error())
    assert (summary.positives, summary.negatives) == (len(task.positives), len(task.negatives))


@pytest.mark.parametrize(
    ("values", "query_ids", "gallery_ids"),
    [
        ([[0.1, 0.2]], [1], [0, 0]),
        ([[0.1, 0.2]], [1], [1, 1]),
        (np.empty((1, 0)), [1], []),
        (np.empty((0, 2)), [], [1, 1]),
    ],
)
def test_one_sided_and_empty_sets(dense_distance, values, query_ids, gallery_ids):
    result = verify(dense_distance(values), Relevance(query_ids, gallery_ids))
    summary = result.summary()
    assert json.dumps(as_plain(summary), allow_nan=False)
    assert summary.equal_error is None
    assert (summary.tpr["0.01"] is None) == (len(result.positives) == 0)
    assert summary.positives + summary.negatives == np.size(values)
    with pytest.raises(ValueError, match="an equal error rate needs both"):
        result.equal_error_rate()


def test_a_filter_that_takes_out_everything_accepts_nothing(dense_distance):
    result = verify(dense_distance([[np.inf, np.inf]]), Relevance([1], [0, 1]), max_fpr=1)
    assert (result.tpr(1), result.threshold(1)) == (0, -np.inf)
    assert result.equal_error_rate() == (1, -np.inf)


def test_wrong_arguments_are_refused(dense_distance):
    distance, relevance = dense_distance([[0.1, 0.2]]), Relevance([1], [0, 1])
    with pytest.raises(ValueError, match="labels for 1 queries and 2 gallery entries, expected 1 and 1"):
        verify(dense_distance([[0.1]]), relevance)
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match=f"max_fpr is {wrong}, expected a rate above 0 and up to 1"):
            verify(distance, relevance, max_fpr=wrong)
    with pytest.raises(ValueError, match=r"fpr is -0\.1, expected a rate from 0"):
        verify(distance, relevance).tpr(-0.1)
    with pytest.raises(ValueError, match="A distance of the queries 0 to 0 is NaN"):
        verify(dense_distance([[0.1, np.nan]]), relevance)
