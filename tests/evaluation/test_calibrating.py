"""Which images a calibration is fitted to, and a run that leaves one."""

import numpy as np
import pytest

from src.checkpoints.checkpoint_file import load_checkpoint
from src.data import make_table
from src.embed import Embedder
from src.evaluation import evaluation_run
from src.evaluation.calibrating import calibration_rows, draw_evenly
from src.evaluation.metrics_file import read_metrics
from src.retrieval import read_embeddings
from src.runtime.provenance import file_sha
from src.training import run as training


def table(splits, vehicles):
    count = len(splits)
    columns = {"path": [f"{i}.jpg" for i in range(count)], "split": splits, "vehicle_id": vehicles}
    return make_table("/data", "cars", columns)


def test_the_best_vehicles_there_are_are_taken():
    splits = ["train", "calibration", "test", "train", "calibration", "test"]
    whole = table(splits, [1, 2, 3, 1, 2, 3])
    assert calibration_rows(whole, 0.3)[0] == "put aside"
    assert calibration_rows(whole, 0.3)[1].tolist() == [1, 4]
    without = whole[whole["split"] != "calibration"].reset_index(drop=True)
    assert calibration_rows(without, 0.3)[0] == "held out"
    assert calibration_rows(without, 0.3)[1].tolist() == [1, 3]
    source, rows = calibration_rows(without, 0)  # a test set of its own is never fitted to
    assert (source, rows.tolist()) == ("trained on", [0, 2])
    assert len(calibration_rows(table(["test", "test"], [1, 1]), 0)[1]) == 0


def test_nobody_and_other_data_sets_are_left_out():
    whole = table(["train", "train", "train", "test"], [1, -1, 2, 3])
    whole.loc[2, "dataset"] = "lorries"
    assert calibration_rows(whole, 0)[1].tolist() == [0]


def test_images_are_drawn_evenly_from_many_vehicles():
    vehicles = np.repeat([0, 1, 2, 3], [3, 50, 50, 1])
    whole = table(["train"] * len(vehicles), vehicles)
    rows = np.arange(len(vehicles))
    drawn = draw_evenly(whole, rows, 40)
    counts = np.bincount(vehicles[drawn], minlength=4)
    assert counts.sum() == 40
    assert counts[[0, 3]].tolist() == [3, 1]
    assert abs(counts[1] - counts[2]) <= 1
    assert draw_evenly(whole, rows, 40).tolist() == drawn.tolist() != draw_evenly(whole, rows, 40, seed=1).tolist()
    assert len(np.unique(vehicles[draw_evenly(whole, rows, 8)])) == 2  # some images each, or there are no pairs
    assert draw_evenly(whole, rows, 1000).tolist() == rows.tolist()


SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "debug=one_batch", "workers=0", "trainer=cpu")


def test_a_run_leaves_probabilities_in_its_checkpoint(composed, tmp_path, quickstart):
    aside = ("data.calibration=0.2", "calibration_images=120")
    training.run(composed(*SMALL, "method=bot", "data=quickstart", *aside))
    run = tmp_path / "run"
    checkpoint = run / "stages/main/last.ckpt"
    metrics, embeddings = read_metrics(run), read_embeddings(run / "embeddings")
    said = metrics.probabilities
    assert (said.fit.source, said.fit.vehicles, said.fit.images) == ("put aside", 22, 120)
    assert said.fit.kind == min(said.fit.errors, key=lambda kind: said.fit.errors[kind].cllr)
    assert said.tasks.keys() == metrics.tasks.keys()
    for task in said.tasks.values():
        assert 0 <= task.nearest.ece <= 1
        assert 0 < task.pairs.brier < 0.5
        assert 0 < task.fnmr["0.01"] <= task.fnmr["0.001"] <= 1
        assert task.prior == pytest.approx(7 / 168, rel=0.5)
        assert 0 < task.refusal.absent < task.refusal.queries
    assert metrics.models[0].checkpoint_sha == file_sha(checkpoint)
    assert (run / "figures/probabilities.png").stat().st_size > 10_000
    aside = embeddings.table["split"] == "calibration"
    assert len(set(embeddings.table["vehicle_id"][aside])) == 22
    assert len(load_checkpoint(checkpoint)["reid"]["labels"]) == 88
    assert not set(embeddings.rows) & set(np.flatnonzero(aside))

    again = evaluation_run.run(
        composed(f"checkpoint={checkpoint}", "workers=0", f"paths.run_dir={tmp_path}/again", config="evaluate")
    )
    assert again.probabilities == said
    from_files = evaluation_run.run(
        composed(f"embeddings={run}/embeddings", f"paths.run_dir={tmp_path}/files", config="evaluate")
    )
    assert from_files.probabilities == said

    embed = Embedder(checkpoint)
    assert embed.calibration == embeddings.meta.calibration
    day, night = (sorted((quickstart / domain).rglob("*.jpg"))[:3] for domain in ("day", "night"))
    pairs = embed.probability(day, night[:2], "day", "night")
    assert pairs.shape == (3, 2)
    scores = embed(day) @ embed(night[:2]).T
    np.testing.assert_allclose(pairs, embed.calibration.probability(scores, 0.5, "day", "night"))
    rare = embed.probability(day, night[:2], ["day"] * 3, ["night"] * 2, prior=0.01)
    assert (rare < pairs).all()


def test_without_vehicles_enough_it_says_why_there_are_no_probabilities(composed, tmp_path, caplog):
    few = ("data.calibration=0.05", "calibration_images=100")  # of 110 vehicles
    training.run(composed(*SMALL, "method=bot", "data=quickstart", *few))
    assert (
        "No calibration, so there are no probabilities: among the images put aside, there are 6 vehicles" in caplog.text
    )
    assert read_metrics(tmp_path / "run").probabilities is None
    embed = Embedder(tmp_path / "run/stages/main/last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt has no calibration, so there are no probabilities"):
        embed.probability("a.jpg", "b.jpg")
