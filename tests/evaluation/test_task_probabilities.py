"""Probabilities of a task against loops over its pairs."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from src.data import build_tasks, make_table
from src.evaluation.task_probabilities import NEAREST, measure_probabilities
from src.retrieval import Embeddings
from src.retrieval.probabilities.calibration import Calibration, EvidenceCurve, Fit

CALIBRATION = Calibration(
    EvidenceCurve((-1.0, 1.0), (-6.0, 6.0)),
    {"day night": EvidenceCurve((-1.0, 1.0), (-5.0, 8.0))},
    Fit("logistic", "put aside", 9, 90, 100, 900, 9.0, {}),
)


def cars(count=60, **more):
    rng = np.random.default_rng(3)
    vehicles = rng.integers(0, 10, count)
    columns = {
        "path": [f"{i}.jpg" for i in range(count)],
        "split": rng.choice(["query", "gallery", "test"], count),
        "vehicle_id": vehicles,
        "camera_id": rng.integers(0, 3, count),
        "domain": rng.choice(["day", "night", ""], count),
        "track_id": np.arange(count),
    }
    table = make_table("/data", "cars", columns | more)
    features = F.normalize(torch.from_numpy(rng.normal(size=(10, 8))[vehicles] + 0.8 * rng.normal(size=(count, 8))))
    return table, Embeddings(features.float(), np.arange(count), table)


def slow(table, model, task):
    """For each query the pairs that count: score to four digits, evidence, right or not, vehicle."""
    found = []
    for query in task.trials[0].query:
        pairs = []
        for entry in task.trials[0].gallery:
            same = table["vehicle_id"][query] == table["vehicle_id"][entry]
            if same and table["camera_id"][query] == table["camera_id"][entry]:
                continue
            score = float(model.features[query].double() @ model.features[entry].double())
            across = {table["domain"][query], table["domain"][entry]} == {"day", "night"}
            evidence = 6 * score if not across else -5 + 13 * (score + 1) / 2
            pairs.append((score, evidence, bool(same), int(table["vehicle_id"][entry])))
        found.append(sorted(pairs, reverse=True))
    return found


def probability(evidence, prior):
    return 1 / (1 + math.exp(-(evidence + math.log(prior / (1 - prior)))))


def test_numbers_are_those_of_loops():
    table, model = cars()
    (task,) = build_tasks(table, ["image_to_image"])
    measured = measure_probabilities(task, model, CALIBRATION)
    lists = slow(table, model, task)
    pairs = [pair for one in lists for pair in one]
    right = [pair for pair in pairs if pair[2]]
    record = measured.record
    assert record.prior == pytest.approx(len(right) / len(pairs))
    assert record.pairs.pairs == len(pairs)
    brier = sum((1 - probability(e, 0.5)) ** 2 for _, e, same, _ in pairs if same) / len(right) / 2
    brier += sum(probability(e, 0.5) ** 2 for _, e, same, _ in pairs if not same) / (len(pairs) - len(right)) / 2
    assert record.pairs.brier == pytest.approx(brier, abs=1e-4)
    near = [pair for one in lists for pair in one[:NEAREST]]
    squares = [(probability(e, record.prior) - same) ** 2 for _, e, same, _ in near]
    assert record.nearest.brier == pytest.approx(sum(squares) / len(squares), abs=1e-5)
    assert record.nearest.share == pytest.approx(sum(pair[2] for pair in near) / len(near))
    assert record.nearest.pairs == len(near)
    assert 0 < record.fnmr["0.01"] <= record.fnmr["0.001"] <= 1


def test_refusal_is_that_of_a_gallery_without_half_of_the_vehicles():
    table, model = cars()
    (task,) = build_tasks(table, ["image_to_image"])
    measured = measure_probabilities(task, model, CALIBRATION, seed=4)
    names = sorted(set(table["vehicle_id"][task.trials[0].query]))
    gone = set(np.random.default_rng(4).permutation(names)[: len(names) // 2].tolist())
    record = measured.record
    refused, absent = [], []
    for pairs in slow(table, model, task):
        left = [pair for pair in pairs if pair[3] not in gone]
        absent.append(not any(pair[2] for pair in left))
        refused.append(probability(left[0][1], record.prior / 2) < 0.5)
    right = sum(a and b for a, b in zip(refused, absent, strict=True))
    assert record.refusal.absent == sum(absent)
    assert record.refusal.f1 == pytest.approx(2 * right / (sum(refused) + sum(absent)))
    assert (len(measured.present), len(measured.absent)) == (len(absent) - sum(absent), sum(absent))


def test_tracks_have_no_probabilities_and_neither_have_pairs_of_one_class():
    table, model = cars()
    (task,) = build_tasks(table, ["image_to_track"])
    assert measure_probabilities(task, model, CALIBRATION) is None
    one, same = cars(vehicle_id=0)
    (task,) = build_tasks(one, ["image_to_image"])
    assert measure_probabilities(task, same, CALIBRATION) is None


def test_of_many_queries_some_are_enough(monkeypatch):
    monkeypatch.setattr("src.evaluation.task_probabilities.QUERIES", 10)
    table, model = cars()
    (task,) = build_tasks(table, ["image_to_image"])
    assert len(task.trials[0].query) > 20
    assert 5 < measure_probabilities(task, model, CALIBRATION).record.refusal.queries <= 10
