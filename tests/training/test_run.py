"""Whole runs on the small rendered sets: train, test, evaluate again."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from scripts import tune_postprocessing
from src.checkpoints.checkpoint_file import load_checkpoint
from src.evaluation import evaluation_run as evaluation
from src.evaluation.metrics_file import read_metrics
from src.retrieval import StepError, read_embeddings
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha
from src.training import run as stages

SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "debug=one_batch", "workers=0", "trainer=cpu")
RUNS = [
    ("method=dndm", "data=quickstart"),
    ("method=dndm_released", "data=quickstart", "backbone=resnet50", "backbone.name=resnet18", "backbone.weights=null"),
    ("method=bot", "data=quickstart_veri"),
    ("method=dfr_st", "data=quickstart_veri", "transforms.size=64"),  # its parts need some rows
]


@pytest.mark.parametrize("choices", RUNS, ids=lambda choices: "_".join(choices).replace("=", "_"))
def test_train_then_evaluate_gives_the_same_numbers(composed, tmp_path, choices):
    cfg = composed(*SMALL, *choices)
    stages.run(cfg)
    run = tmp_path / "run"
    metrics = read_metrics(run)
    assert list(metrics.tasks) == list(cfg.data.tasks)
    assert metrics.models[0].checkpoint_sha == file_sha(run / "stages/main/last.ckpt")
    assert metrics.config["method"] == cfg.method
    for name, task in metrics.tasks.items():
        assert 0 < task.mAP < 1
        assert task.rank[1] <= task.rank[5] <= task.rank[20] <= 1
        assert task.protocol.name == name

    # The embeddings folder holds what the numbers were computed from.
    embeddings = read_embeddings(run / "embeddings")
    assert len(embeddings.rows) == len(embeddings.features) > 0
    assert set(embeddings.table["split"]) >= {"train"}
    torch.testing.assert_close(embeddings.features.norm(dim=1), torch.ones(len(embeddings.features)))

    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    again = evaluation.run(
        composed(
            f"checkpoint={run}/stages/main/last.ckpt", "workers=0", f"paths.run_dir={tmp_path}/again", config="evaluate"
        )
    )
    assert again.tasks == metrics.tasks
    assert again.data == metrics.data
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_run_folder_is_tidy_and_its_names_can_be_typed(composed, tmp_path):
    stages.run(composed(*SMALL, "method=bot", "data=quickstart", "compare_untrained=true"))
    run = tmp_path / "run"
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    assert names == [
        "embeddings/features.safetensors",
        "embeddings/meta.json",
        "embeddings/table.csv",
        "figures/curves_main.png",
        "figures/rank_list_day_to_night.png",
        "figures/rank_list_night_to_day.png",
        "metrics.json",
        "stages/main/best.ckpt",
        "stages/main/hparams.yaml",
        "stages/main/last.ckpt",
        "stages/main/metrics.csv",
        "stages/main/table.csv",
    ]
    assert not any(set(name) & set("=, ") for name in names)
    log = pd.read_csv(run / "stages/main/metrics.csv")
    assert {"train/cross_entropy", "train/triplet", "val/mAP", "val/day_to_night/mAP"} <= set(log)
    metrics = read_metrics(run)
    assert metrics.untrained.keys() == metrics.tasks.keys()

    # Nothing in the checkpoint needs code to be run.
    checkpoint = torch.load(run / "stages/main/last.ckpt", weights_only=True)
    assert checkpoint["reid"]["labels"][0] == ["quickstart", 1]
    assert len(checkpoint["reid"]["labels"]) == 110

    # The same checkpoint on other data.
    other = composed(
        *(f"checkpoint={run}/stages/main/best.ckpt", "data=quickstart_veri", "workers=0"),
        f"paths.run_dir={tmp_path}/other",
        config="evaluate",
    )
    assert list(evaluation.run(other).tasks) == ["image_to_image", "image_to_track"]

    with pytest.raises(ConfigError, match="already holds the results"):
        stages.run(composed(*SMALL, "method=bot", "data=quickstart"))


def test_two_stages_hand_on_everything_but_the_classifier(composed, tmp_path):
    cfg = composed(*SMALL, "method=bot", "data=quickstart", "+stages.second=${stages.main}")
    cfg.stages.second = {**cfg.stages.main, "optim": composed("optim=bot", "optim.optimizer.lr=0").optim}
    stages.run(cfg)
    first, second = (
        load_checkpoint(tmp_path / f"run/stages/{name}/last.ckpt")["state_dict"] for name in ("main", "second")
    )
    weights = [name for name in first if name.endswith("weight")]
    changed = {name for name in weights if not torch.equal(first[name], second[name])}
    assert changed == {"neck.classifier.weight"}


def process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    run = [sys.executable, "-m", *arguments]
    return subprocess.run(
        run,
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        env={"PATH": "", "HOME": str(cwd), "PYTHONPATH": str(root)},
    )


def test_help_lists_the_groups_without_loading_torch(tmp_path):
    done = process("src.train", "--help", cwd=tmp_path)
    assert done.returncode == 0
    trainers = "trainer: auto, cpu, ddp, ddp_bf16, ddp_multinode, gpu, gpu_bf16"
    for group in ("dndm, dndm_released", "dn_348, dn_wild", trainers):
        assert group in done.stdout
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, src.train, src.evaluate; print('torch' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert imported.stdout.strip() == "False"


def test_wrong_input_gives_one_sentence_and_keeps_the_traceback(command, tmp_path):
    done = command("src.train", "method=bot", "data=veri776", "backbone=efficientnet_lite0")
    assert done.returncode == 1
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "data/veri776" in sentence
    assert "Traceback (most recent call last)" not in done.stderr
    (trace,) = tmp_path.glob("outputs/*/*/error.txt")
    assert "Traceback (most recent call last)" in trace.read_text()


@pytest.mark.slow
def test_two_processes_measure_what_one_does(command, quickstart, tmp_path):
    done = process(
        "src.train",
        *(*SMALL[:-1], "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"),
        *("method=dndm", "data=quickstart", f"data.root={quickstart}", f"hydra.run.dir={tmp_path}/two"),
        *("calibration_images=101", "data.calibration=0.3"),  # an odd number for two processes
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    one = command(
        *("src.evaluate", f"checkpoint={tmp_path}/two/stages/main/last.ckpt", "trainer=cpu", "workers=0"),
        f"hydra.run.dir={tmp_path}/one",
    )
    assert one.returncode == 0, one.stderr
    probabilities = [read_metrics(tmp_path / name).probabilities for name in ("two", "one")]
    assert probabilities[0].fit == probabilities[1].fit
    assert probabilities[0].fit.images == 101
    both, alone = (read_metrics(tmp_path / name).tasks for name in ("two", "one"))
    for task in both:
        assert both[task].mAP == pytest.approx(alone[task].mAP, abs=1e-6)
        assert both[task].rank == alone[task].rank
        assert both[task].gallery == alone[task].gallery


@pytest.mark.slow
def test_overfitting_repeats_its_batches_until_the_loss_is_gone(composed, tmp_path):
    stages.run(composed(*SMALL[:2], "debug=overfit", "workers=0", "trainer=cpu", "method=bot", "data=quickstart"))
    losses = pd.read_csv(tmp_path / "run/stages/main/metrics.csv")["train/triplet"].dropna()
    assert losses.iloc[-1] < 0.25 * losses.iloc[0]


@pytest.mark.slow
def test_a_sweep_leaves_one_folder_a_run(command, quickstart, tmp_path):
    done = command(
        *("src.train", "--multirun", "sweep=seeds", *SMALL, "method=bot", "data=quickstart"),
        f"data.root={quickstart}",
    )
    assert done.returncode == 0, done.stderr
    found = sorted((tmp_path / "outputs").rglob("metrics.json"))
    assert [read_metrics(path.parent).seed for path in found] == [0, 1, 2]
    assert not any(set("=, ") & set(str(path.relative_to(tmp_path))) for path in tmp_path.rglob("*"))


def test_embeddings_are_evaluated_again_with_post_processing_and_no_forward_pass(composed, tmp_path):
    stages.run(composed(*SMALL, "method=bot", "data=quickstart_veri"))
    plain = read_metrics(tmp_path / "run")
    embeddings = f"embeddings={tmp_path}/run/embeddings"

    def evaluated(name, *overrides):
        cfg = composed(embeddings, f"paths.run_dir={tmp_path / name}", *overrides, config="evaluate")
        return evaluation.run(cfg)

    assert evaluated("plain").tasks == plain.tasks
    steps = "retrieval.steps=[query_expansion,spatio_temporal,k_reciprocal,time_window]"
    found = evaluated("steps", steps, "retrieval.spatio_temporal.omega=0.1", "retrieval.time_window.tau=400")
    assert found.before_postprocessing == plain.tasks
    assert found.postprocessing == ("query_expansion", "spatio_temporal", "k_reciprocal", "time_window")
    for name, task in found.tasks.items():
        assert task.mAP != plain.tasks[name].mAP
        assert task.filtered > 0
    assert (tmp_path / "steps/figures/rank_list_image_to_image.png").is_file()

    # One embedding twice is the same model; a track has the images it had.
    twice = f"embeddings=[{tmp_path}/run/embeddings,{tmp_path}/run/embeddings]"
    joined = evaluated("twice", twice, "retrieval.steps=[concatenate]")
    assert joined.tasks["image_to_image"].mAP == pytest.approx(plain.tasks["image_to_image"].mAP, abs=1e-4)
    assert len(joined.models) == 2
    with pytest.raises(StepError, match=r"leaves tracks in the gallery.*add expand_tracks"):
        evaluated("tracks", "retrieval.steps=[track_features]")
    with pytest.raises(ConfigError, match=r"retrieval\.flip and retrieval\.scales need checkpoint"):
        evaluated("flip", "retrieval.flip=true")
    with pytest.raises(ConfigError, match="Pass one of checkpoint, checkpoints, embeddings and untrained=true"):
        evaluated("both", "checkpoint=x")


def test_the_spatio_temporal_term_is_swept_without_training(composed, tmp_path):
    """ω = 0 gives the appearance ranking; the checkpoint keeps the fit."""
    cfg = composed(
        *SMALL, "experiment=dfr_st_veri776", "data=quickstart_veri", "transforms.size=64", "method.omega=0.3"
    )
    trained = stages.run(cfg)
    assert trained.postprocessing == ("spatio_temporal",)
    run = tmp_path / "run"
    fit = load_checkpoint(run / "stages/main/last.ckpt")["reid"]["trips"]
    assert fit["temporal"]["sigma"] > 0
    for omega, expected in ((0, trained.before_postprocessing), (0.3, trained.tasks)):
        found = evaluation.run(
            composed(
                *(f"embeddings={run}/embeddings", "sweep=omega", f"retrieval.spatio_temporal.omega={omega}"),
                f"paths.run_dir={tmp_path}/omega_{omega}",
                config="evaluate",
            )
        )
        for name, task in expected.items():
            assert found.tasks[name].mAP == pytest.approx(task.mAP, abs=1e-9)
        assert {"trips.png", "falling_curves.png"} <= {path.name for path in tmp_path.glob(f"omega_{omega}/figures/*")}
    with pytest.raises(StepError, match="spatio_temporal needs a camera_id"):
        evaluation.run(
            composed(
                *(f"checkpoint={run}/stages/main/last.ckpt", "data=quickstart", "sweep=omega", "workers=0"),
                f"paths.run_dir={tmp_path}/day_night",
                config="evaluate",
            )
        )


def test_several_checkpoints_are_one_ensemble_of_mirrored_images(composed, tmp_path):
    stages.run(composed(*SMALL, "method=bot", "data=quickstart_veri"))
    checkpoints = f"checkpoints=[{tmp_path}/run/stages/main/last.ckpt,{tmp_path}/run/stages/main/best.ckpt]"
    options = ("workers=0", f"paths.run_dir={tmp_path}/both", "retrieval.flip=true", "retrieval.scales=[1,0.75]")
    found = evaluation.run(
        composed(checkpoints, *options, "retrieval.steps=[k_reciprocal,sum_distances]", config="evaluate")
    )
    assert found.checkpoint == "main/last.ckpt + main/best.ckpt"
    for number in (1, 2):
        meta = read_embeddings(tmp_path / f"both/embeddings_{number}").meta
        assert meta.views == {"flip": True, "scales": [1.0, 0.75]}
    assert list(found.tasks) == ["image_to_image", "image_to_track"]


def test_what_papers_leave_open_is_chosen_on_held_out_training_identities(composed, tmp_path, capsys):
    stages.run(composed(*SMALL, "method=bot", "data=quickstart_veri", "data.holdout=0.3"))
    run = tmp_path / "run"
    table = read_embeddings(run / "embeddings").table
    held = set(table["vehicle_id"][table["split"] == "test"])
    assert held
    assert not held & set(table["vehicle_id"][table["split"] == "train"])
    steps = ["--steps", "query_groups", "group_reranking", "--grid", "query_groups.theta=[0.1,0.5]"]
    best = tune_postprocessing.main([str(run / "embeddings"), *steps])
    said = capsys.readouterr().out.strip().splitlines()
    scores = {line.split("  ")[1]: float(line.split()[0]) for line in said if line[:1].isdigit()}
    theta = best["group_reranking"]["theta"]
    chosen = f"query_groups.theta={best['query_groups']['theta']}, group_reranking.theta={theta}"
    tried = {text: score for text, score in scores.items() if text != "without steps"}
    assert tried[chosen] == max(tried.values())
    assert said[-1].endswith(f"retrieval.group_reranking.theta={theta}")

    stages.run(composed(*SMALL, "method=bot", "data=quickstart_veri", f"paths.run_dir={tmp_path}/test_set"))
    with pytest.raises(SystemExit, match="on which nothing may be chosen"):
        tune_postprocessing.main([f"{tmp_path}/test_set/embeddings", *steps])
