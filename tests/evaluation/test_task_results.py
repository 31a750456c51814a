import numpy as np
import pytest
import torch

from src.data import build_tasks, make_table
from src.evaluation.retrieval_metric import RetrievalMetric


def ranked_by_hand(query, gallery, features, vehicles):
    """Average precision and rank of the only right image of each query, in float64."""
    ranks = []
    for row in query:
        distances = [float(((features[row] - features[other]) ** 2).sum()) for other in gallery]
        (right,) = [
            distance for distance, other in zip(distances, gallery, strict=True) if vehicles[other] == vehicles[row]
        ]
        ranks.append(sum(distance <= right for distance in distances))
    return np.array(ranks)


def test_drawn_trials_are_averaged_and_their_spread_is_stored():
    rng = np.random.default_rng(5)
    vehicles = np.repeat(np.arange(8), rng.integers(2, 6, 8))
    n = len(vehicles)
    columns = {"path": [f"{number}.jpg" for number in range(n)], "split": "test", "vehicle_id": vehicles}
    table = make_table("/data", "cars", columns)
    features = torch.from_numpy(rng.normal(size=(n, 6)))
    (task,) = build_tasks(table, ["one_gallery_image"])
    metric = RetrievalMetric(table, [task])
    metric.update(features.float(), torch.arange(n))
    values = metric.compute()
    ranks = [ranked_by_hand(trial.query, trial.gallery, features.numpy(), vehicles) for trial in task.trials]
    record = metric.results["one_gallery_image"].record()
    mean_aps = [float((1 / trial).mean()) for trial in ranks]
    assert record.mAP == pytest.approx(np.mean(mean_aps))
    assert float(values["one_gallery_image/mAP"]) == pytest.approx(np.mean(mean_aps))
    assert record.trials.n == 10
    assert record.trials.std.mAP == record.trials.std.mINP == pytest.approx(np.std(mean_aps))
    assert record.trials.std.mAP > 0
    for k in (1, 5, 10, 20):
        shares = [float((trial <= k).mean()) for trial in ranks]
        assert record.rank[k] == pytest.approx(np.mean(shares))
        assert record.trials.std.rank[k] == pytest.approx(np.std(shares), abs=1e-12)
    assert (record.queries, record.gallery, record.skipped) == (n - 8, 8, 0)
    assert (record.protocol.trials, record.protocol.seed) == (10, 0)
