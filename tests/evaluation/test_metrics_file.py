import json
import math
from dataclasses import replace

import numpy as np
import pytest

from src.data.protocols import Protocol
from src.evaluation.metrics_file import has_metrics, mean_ap, read_metrics, write_metrics
from src.evaluation.metrics_record import Group, IndexRecord, MetricsRecord, Scores, TaskRecord, Trials
from src.retrieval import DataVersion, EmbeddingsMeta, LogNormal, TripModel, VerificationSummary
from src.retrieval.verification import EqualError
from src.runtime.errors import ConfigError

RANK = {1: 0.5, 5: 0.6, 10: 0.7, 20: 0.8}
TASK = TaskRecord(
    mAP=1 / 3,
    mINP=0.1,
    rank=RANK,
    queries=7,
    gallery=9,
    protocol=Protocol("image_to_track", "image query → track gallery", "same_camera", gallery_unit="track"),
    skipped=1,
    ties=2,
    filtered=3,
    filter_counts="drop",
    trials=Trials(2, Scores(0.01, 0.02, dict.fromkeys(RANK, 0.03))),
)
MODEL = EmbeddingsMeta(
    checkpoint="main/last.ckpt",
    checkpoint_sha="a" * 64,
    precision="32-true",
    device="cpu",
    data=DataVersion("cars", "f"),
    evaluation={"names": ["image_to_track"], "ap": "standard"},
    trips=TripModel(LogNormal(0.5, 1.5), LogNormal(1.0, 2.0)),
    views={"flip": False, "scales": [1.0]},
    dimensions=16,
)
PLAIN = MetricsRecord(
    {"image_to_track": TASK}, (MODEL,), seed=3, config={"method": {"alpha": 0.5}}, git="abc", versions={"torch": None}
)
#: What every run writes.
KEYS = {
    *("schema", "tasks", "git", "versions", "seed", "breakdowns", "config"),
    *("checkpoint", "checkpoint_sha", "precision", "device", "data", "evaluation", "holdout", "trips", "views"),
    *("contamination", "dimensions", "engine", "method"),
}


def written(folder, metrics):
    write_metrics(folder, metrics)
    return json.loads((folder / "metrics.json").read_text())


def test_a_training_comes_back_with_all_that_it_measured(tmp_path):
    metrics = replace(
        PLAIN,
        steps=400,
        untrained={"image_to_track": replace(TASK, mAP=0.2)},
        postprocessing=("k_reciprocal",),
        before_postprocessing={"image_to_track": replace(TASK, mAP=0.3)},
        verification={"image_to_track": VerificationSummary({"0.01": 0.5}, {"0.01": None}, EqualError(0.1, 0.2), 4, 5)},
        index=IndexRecord(8, {"image_to_track": 0.98}, "hnsw", {"m": 32}),
        breakdowns={"image_to_track": {"camera_id": {"1": Group(0.25, 0.125, 8), "2": Group(0.5, 0.75, 4)}}},
    )
    content = written(tmp_path, metrics)
    more = {"steps", "untrained", "postprocessing", "before_postprocessing", "verification", "index"}
    assert set(content) == KEYS | more
    assert read_metrics(tmp_path) == metrics
    assert mean_ap(tmp_path) == 1 / 3


def test_groups_were_once_their_mean_ap_alone(tmp_path):
    content = written(tmp_path, PLAIN) | {"breakdowns": {"image_to_track": {"type": {"van": 0.25, "bus": 0.5}}}}
    groups = MetricsRecord.from_dict(content).breakdowns["image_to_track"]["type"]
    assert {value: group.mAP for value, group in groups.items()} == {"van": 0.25, "bus": 0.5}
    assert all(group.queries is None and np.isnan(group.R1) for group in groups.values())


def test_what_does_not_apply_is_left_out_and_one_model_stands_beside_the_rest(tmp_path):
    content = written(tmp_path, PLAIN)
    assert set(content) == KEYS
    assert content["schema"] == 1
    assert content["checkpoint_sha"] == "a" * 64
    assert content["data"] == {"name": "cars", "fingerprint": "f"}
    task = content["tasks"]["image_to_track"]
    assert task["rank"] == {"1": 0.5, "5": 0.6, "10": 0.7, "20": 0.8}
    assert task["trials"]["n"] == 2
    assert set(task["protocol"]) == {"name", "direction", "ignore", "gallery_unit", "ap", "track_distance"}
    assert read_metrics(tmp_path) == PLAIN


def test_several_models_stand_in_a_list(tmp_path):
    metrics = replace(PLAIN, models=(MODEL, replace(MODEL, checkpoint="main/best.ckpt", checkpoint_sha="b")))
    content = written(tmp_path, metrics)
    assert content["checkpoint"] == "main/last.ckpt + main/best.ckpt"
    assert [model["checkpoint_sha"] for model in content["models"]] == ["a" * 64, "b"]
    assert "checkpoint_sha" not in content
    assert content["data"] == {"name": "cars", "fingerprint": "f"}
    assert read_metrics(tmp_path) == metrics


def test_numbers_that_are_not_known_are_null(tmp_path):
    nothing = replace(TASK, mAP=math.nan, rank={1: math.nan})
    content = written(tmp_path, replace(PLAIN, tasks={"a": nothing}, config={"tau": math.inf}))
    assert content["tasks"]["a"]["mAP"] is None
    assert content["tasks"]["a"]["rank"] == {"1": None}
    assert content["config"] == {"tau": "inf"}
    assert "NaN" not in (tmp_path / "metrics.json").read_text()
    assert math.isnan(read_metrics(tmp_path).tasks["a"].mAP)
    assert math.isnan(mean_ap(tmp_path))


def test_a_file_of_the_first_version_is_read(tmp_path):
    """Without what came later, and with a bare NaN."""
    entry = {"mAP": float("nan"), "mINP": 0.1, "rank": {"1": 0.5}, "queries": 7, "gallery": 9}
    rules = {"name": "a", "direction": "x", "ignore": "none", "gallery_unit": "image", "ap": "standard"}
    content = {"schema": 1, "tasks": {"a": entry | {"protocol": rules}}, "seed": 0, "config": {}, "git": None}
    (tmp_path / "metrics.json").write_text(json.dumps(content | {"checkpoint": "last.ckpt", "data": {"name": "cars"}}))
    metrics = read_metrics(tmp_path)
    assert metrics.checkpoint == "last.ckpt"
    assert metrics.data == DataVersion("cars")
    assert metrics.steps is None
    assert metrics.tasks["a"].trials == Trials(1)
    assert math.isnan(metrics.tasks["a"].mAP)


def test_what_is_not_ours_or_not_whole_is_refused(tmp_path):
    assert not has_metrics(tmp_path)
    assert mean_ap(tmp_path) is None
    for text, message in (
        ("{", "is no JSON file"),
        ("[]", "expected schema 1"),
        ('{"schema": 2}', "expected schema 1"),
        ('{"schema": 1, "tasks": {}}', "is not whole: 'seed' is missing in"),
    ):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(ConfigError, match=rf"{tmp_path}/metrics\.json {message}|{message}"):
            read_metrics(tmp_path)
