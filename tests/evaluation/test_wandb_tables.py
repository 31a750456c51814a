"""What W&B gets of a finished measurement; the file that an offline run leaves is read in test_wandb.py."""

import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from src.data import build_tasks, make_table
from src.evaluation import wandb_tables as tracking
from src.evaluation.task_results import evaluate_task
from src.figures.rank_lists import RankList
from src.figures.style import GREEN, VERMILION
from src.retrieval import Embeddings


@pytest.fixture
def evaluated():
    """Random vehicles in three cameras, one of whom only distractors see, and what image → image finds."""
    rng = np.random.default_rng(3)
    n = 60
    columns = {
        "path": [f"{number}.jpg" for number in range(n)],
        "split": np.where(np.arange(n) < 20, "query", "gallery"),
        "vehicle_id": np.where(np.arange(n) < 55, rng.integers(0, 6, n), -1),
        "camera_id": np.where(np.arange(n) < 55, rng.integers(1, 4, n), 9),
    }
    table = make_table("/data", "cars", columns)
    (task,) = build_tasks(table, ["image_to_image"])
    features = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(n, 3))).float())
    return table, features, evaluate_task(task, [Embeddings(features, np.arange(n), table)], top_k=5)


def test_first_results_are_counted_by_the_pair_of_cameras(evaluated):
    table, features, result = evaluated
    ids, cameras, x = table["vehicle_id"].to_numpy(), table["camera_id"].to_numpy(), features.double().numpy()
    queries, wrong = Counter(), Counter()
    for query in np.flatnonzero(table["split"] == "query"):
        entries = [
            row
            for row in np.flatnonzero(table["split"] == "gallery")
            if not (ids[row] == ids[query] and cameras[row] == cameras[query])
        ]
        if not any(ids[row] == ids[query] for row in entries):
            continue
        first = min(entries, key=lambda row: ((x[query] - x[row]) ** 2).sum())
        queries[cameras[query], cameras[first]] += 1
        wrong[cameras[query], cameras[first]] += ids[first] != ids[query]
    found = tracking.first_results(result, table, "camera_id")
    assert {(row.query, row.first): row.queries for row in found.itertuples(index=False)} == dict(queries)
    assert {(row.query, row.first): row.wrong for row in found.itertuples(index=False)} == dict(wrong)
    assert 0 < sum(wrong.values()) < sum(queries.values())
    assert tracking.first_results(result, table, "domain").empty  # unknown


def test_first_results_need_rank_lists_of_images(evaluated):
    table, features, result = evaluated
    embeddings = Embeddings(features, np.arange(len(table)), table)
    assert tracking.first_results(evaluate_task(result.task, [embeddings]), table, "camera_id").empty


def test_a_run_is_ended_once_and_as_what_it_was(monkeypatch):
    ended = []

    def finish(exit_code):
        ended.append(exit_code)
        wandb.run = None

    wandb = SimpleNamespace(run="running", finish=finish)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with tracking.run_ends_here():
        assert not ended
    wandb.run = "running"
    with pytest.raises(KeyError), tracking.run_ends_here():
        raise KeyError
    with tracking.run_ends_here():  # without a run there is nothing to end
        pass
    assert ended == [0, 1]


def test_rank_lists_are_told_apart_by_frame_and_sign(monkeypatch, evaluated):
    table = evaluated[0]
    monkeypatch.setattr(tracking, "read_image", lambda path, box: np.full((30, 60, 3), 7, np.uint8))
    entry = RankList(0, np.array([30, 31]), np.array([True, False]), np.array([0.25, 0.5]), 0.75)
    pictures = tracking._pictures([entry, RankList(1, np.array([32]), np.array([False]), np.array([0.1]), 0)], table)
    assert pictures.columns == ["vehicle", "AP", "query", "1", "2"]
    first, second = pictures.data
    assert first[:2] == [table["vehicle_id"][0], 0.75]
    assert second[-1] is None
    for cell, sign, colour in ((first[3], "✓ 0.25", GREEN), (first[4], "✗ 0.50", VERMILION)):
        assert cell._caption == sign
        pixels = np.asarray(cell.image)
        assert pixels.shape == (64 + 12, 128 + 12, 3)
        assert "#{:02X}{:02X}{:02X}".format(*pixels[0, 0]) == colour
        assert (pixels[6:-6, 6:-6] == 7).all()
