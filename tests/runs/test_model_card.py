"""The card beside exported files: what it says is what the run's files say."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from src.checkpoints import exporting
from src.embed import Embedder
from src.evaluation.metrics_file import read_metrics
from src.evaluation.metrics_record import MetricsRecord
from src.runs import model_card
from src.runtime.provenance import file_sha


@pytest.fixture
def run(untrained, tmp_path):
    """A run's folder with its numbers, two tasks of them; returns its checkpoint."""
    checkpoint = tmp_path / "run/stages/main/last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(untrained("method=bot"), checkpoint)

    def task(mean, **others):
        protocol = {"name": "x", "direction": "day query → night gallery", "ignore": "same_camera"}
        ranks = {"1": 0.5, "5": 0.625, "10": 0.75}
        return {"mAP": mean, "mINP": 0.25, "rank": ranks, "queries": 1234, "gallery": 56, "protocol": protocol} | others

    content = {
        "schema": 1,
        "tasks": {"day_to_night": task(0.5371), "night_to_day": task(0.5128, mINP=None, skipped=3)},
        "untrained": {"day_to_night": task(0.337)},
        "seed": 7,
        "config": {},
        "versions": {"torch": "2.15.0"},
        "checkpoint": "main/last.ckpt",
        "checkpoint_sha": file_sha(checkpoint),
        "data": {"name": "quickstart", "fingerprint": "93b342c5f6c873e0"},
    }
    (tmp_path / "run/metrics.json").write_text(json.dumps(content))
    return checkpoint


@pytest.fixture
def export(composed, tmp_path):
    """Exports with a card; returns its folder."""

    def make(checkpoint, *more):
        out = tmp_path / "published/car"
        said = (f"checkpoint={checkpoint}", f"out={out}", "format=torchscript", "repeats=1", "batches=[1]", "card=true")
        cfg = composed(*said, *more, config="export")
        return model_card.write_card(cfg, exporting.run(cfg)).parent

    return make


def test_the_card_says_what_the_runs_files_say(run, export, quickstart):
    folder = export(run, "licence=cc-by-nc-4.0", "name=day-night-car")
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "cc-by-nc-4.0"
    assert card.data.model_name == "day-night-car"
    found = {(r.task_name, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert found[("day_to_night", "mAP")] == 0.5371
    assert found[("night_to_day", "rank-5")] == 0.625
    assert ("night_to_day", "mINP") not in found  # nobody knows it
    assert {r.dataset_revision for r in card.data.eval_results} == {"93b342c5f6c873e0"}
    text = card.text
    for said in (
        "| trained | day_to_night | 0.537 | 0.500 | 0.625 | 0.750 | 0.250 | 1,234 | 56 |",
        "| untrained | day_to_night | 0.337 |",
        "`night_to_day`: day query → night gallery; not counted in a list: same camera; standard average precision",
        "One run, seed 7; data set `quickstart`, fingerprint `93b342c5f6c873e0`; torch 2.15.0.",
        "rendered vehicles; its numbers say nothing about real traffic",
        "rendered from models under CC BY 3.0 and CC0",
        "| training identities | 5 |",
        "`car.pt`",
        file_sha(folder / "model.ckpt"),
    ):
        assert said in text, said
    assert "licence of the weights is left open" not in text
    assert "nan" not in text.lower().split("limits")[0].split("numbers")[0]
    kept = torch.load(folder / "model.ckpt", weights_only=True)
    assert kept.keys() == {"state_dict", "reid"}
    image = next((quickstart / "day").rglob("*.jpg"))
    np.testing.assert_array_equal(Embedder(folder, device="cpu")(image), Embedder(run, device="cpu")(image))


def test_without_numbers_and_licence_it_says_so(run, export, caplog):
    changed = torch.load(run, weights_only=True)
    torch.save(changed | {"more": 1}, run)  # another file than was measured
    text = (export(run) / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert "model-index" not in front
    assert "license" not in front
    assert "None are known: there was no metrics.json" in text
    assert "The licence of the weights is left open" in text
    assert "the card says no numbers" in caplog.text


def test_a_method_that_must_know_the_night_is_loaded_with_it(run):
    exported = {
        "method": "DNDM",
        "formats": {"PyTorch": {}, "onnx": {"file": "car.onnx"}},
        "inputs": [{"name": "image", "shape": ["batch", 3, 32, 32]}, {"name": "domain", "shape": ["batch"]}],
        "output": {"shape": ["batch", 8]},
    }
    made = torch.load(run, weights_only=True)["reid"]
    metrics = read_metrics(run.parents[2])
    text = model_card.card("car", made, metrics, exported, licence=None, sha="0")
    assert 'embed("query.jpg", domain="night")' in text
    assert isinstance(metrics, MetricsRecord)
    assert "- onnx" in text.split("---")[1]
