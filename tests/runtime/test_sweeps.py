"""Jobs of a sweep: folders, failures, W&B runs, embeddings that are made once, what Optuna is told."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from src import evaluate
from src.data.layouts import VeRi776
from src.evaluation import evaluation_run as evaluation
from src.evaluation.embedding import embeddings_meta
from src.evaluation.metrics_file import mean_ap, read_metrics
from src.retrieval import DataVersion, Embeddings, EmbeddingsMeta, read_embeddings, write_embeddings
from src.runs.finished import flatten
from src.runs.published_tables import is_of, read_table
from src.runtime.command import CONF_DIR
from src.runtime.sweeps import sweep_of


def random_embeddings(table, meta):
    rows = np.flatnonzero(table["split"] != "train")
    features = torch.nn.functional.normalize(torch.randn(len(rows), 16))
    return Embeddings(features, rows, table, None, meta)


@pytest.fixture
def embedded(quickstart_veri, tmp_path):
    """An embeddings folder with random features."""
    table = VeRi776(root=str(quickstart_veri), name="cars").read()
    meta = EmbeddingsMeta(
        checkpoint="main/last.ckpt",
        checkpoint_sha="0" * 64,
        data=DataVersion("cars", "f"),
        evaluation={"names": ["image_to_image"], "ap": "standard", "trials": 1, "seed": 0},
    )
    write_embeddings(tmp_path / "embeddings", random_embeddings(table, meta))
    return tmp_path / "embeddings"


@pytest.fixture
def multirun(tmp_path, monkeypatch):
    """`python -m src.evaluate --multirun …` in this process; returns the sweep's folder."""

    def start(*arguments):
        quiet = ("hydra/job_logging=none", "hydra/hydra_logging=none", f"hydra.sweep.dir={tmp_path}/the_sweep")
        monkeypatch.setattr(sys, "argv", ["evaluate", "--multirun", *quiet, "retrieval.queries=0", *arguments])
        evaluate.main()
        return tmp_path / "the_sweep"

    return start


def test_a_failed_job_leaves_the_others_their_results_and_the_sweep_fails_at_its_end(
    multirun, embedded, tmp_path, capsys
):
    with pytest.raises(SystemExit) as end:
        multirun(f"embeddings={embedded},{tmp_path}/nowhere,{embedded}", "seed=3")
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert f"Error: {tmp_path}/nowhere is no whole embeddings folder" in said
    assert "Traceback (most recent call last)" not in said
    jobs = [tmp_path / "the_sweep" / str(number) for number in range(3)]
    assert [mean_ap(job) is not None for job in jobs] == [True, False, True]
    assert "FileNotFoundError" in (jobs[1] / "error.txt").read_text()
    assert [sweep_of(job) for job in jobs] == [tmp_path / "the_sweep"] * 3


@pytest.mark.slow
def test_optuna_gets_the_mean_ap_of_jobs_in_processes_of_their_own(multirun, embedded):
    sweep = multirun(
        *("hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=1"),
        *("hydra.sweeper.n_jobs=1", "hydra/launcher=submitit_local", f"embeddings={embedded}"),
        *("retrieval.steps=[spatio_temporal]", "retrieval.spatio_temporal.parts=[temporal]"),
        "retrieval.spatio_temporal.omega=interval(0.1,0.9)",
    )
    found = OmegaConf.load(sweep / "optimization_results.yaml")
    assert found.best_value == pytest.approx(mean_ap(sweep / "0"))
    metrics = read_metrics(sweep / "0")
    omega = metrics.config["retrieval"]["spatio_temporal"]["omega"]
    assert found.best_params == {"retrieval.spatio_temporal.omega": pytest.approx(omega)}
    assert found.best_value == pytest.approx(metrics.tasks["image_to_image"].mAP)


def test_only_a_job_of_a_sweep_is_of_a_sweep(tmp_path):
    run = tmp_path / "sweep" / "0"
    (run / ".hydra").mkdir(parents=True)
    assert sweep_of(run) is None
    for mode, expected in (("RUN", None), ("MULTIRUN", tmp_path / "sweep")):
        (run / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  mode: {mode}\n")
        assert sweep_of(run) == expected


def test_a_sweep_over_post_processing_embeds_a_checkpoint_once(composed, untrained, tmp_path, monkeypatch):
    checkpoint, made = untrained("method=bot", "data=quickstart_veri"), []

    def embed(method, data, trainer, retrieval, checkpoint, folder, *_):
        made.append(folder.parent.name)
        meta = replace(embeddings_meta(method, data, trainer, checkpoint), dimensions=16)
        write_embeddings(folder, random_embeddings(data.table, meta))
        return read_embeddings(folder)

    monkeypatch.setattr(evaluation, "embed", embed)

    def job(name, *overrides, mode="MULTIRUN"):
        run = tmp_path / "sweep" / name
        (run / ".hydra").mkdir(parents=True)
        (run / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  mode: {mode}\n")
        options = ("workers=0", "retrieval.queries=0", f"paths.run_dir={run}", *overrides)
        return evaluation.run(composed(f"checkpoint={checkpoint}", *options, config="evaluate"))

    first = job("0")
    second = job("1", "retrieval.steps=[query_expansion]")
    assert made == ["0"]
    assert second.before_postprocessing == first.tasks
    assert second.models[0].checkpoint_sha == first.models[0].checkpoint_sha
    job("2", "retrieval.flip=true")
    job("3", "contamination.kind=mosaic", "contamination.share=0.1")
    job("4", mode="RUN")
    assert made == ["0", "2", "3", "4"]


@pytest.mark.parametrize(("sweep", "table"), [("modules", "dndm_table3"), ("stages", "dndm_table4")])
def test_a_sweep_over_experiments_runs_the_rows_of_its_table(composed, sweep, table):
    said = OmegaConf.load(f"{CONF_DIR}/sweep/{sweep}.yaml").hydra.sweeper.params.experiment
    runs = [composed(f"experiment={name}") for name in said.split(",")]
    settings = [flatten(OmegaConf.to_container(run, resolve=True)) for run in runs]
    rows = read_table(table).rows
    assert [[row.name for row in rows if is_of(row, one)] for one in settings] == [[row.name] for row in rows]


@pytest.mark.parametrize(("sweep", "method"), [("optuna_dndm", "dndm"), ("optuna_dfr_st", "dfr_st")])
def test_optuna_chooses_settings_that_exist_on_held_out_vehicles(composed, sweep, method):
    cfg = composed(f"method={method}", f"sweep={sweep}")
    assert cfg.data.holdout == 0.2
    assert cfg.stages.main.data.holdout == 0.2
    for key in OmegaConf.load(f"{CONF_DIR}/sweep/{sweep}.yaml").hydra.sweeper.params:
        assert isinstance(OmegaConf.select(cfg, key), float)


def test_a_sweep_over_post_processing_trains_nothing(command, tmp_path):
    for arguments, named in (
        (["sweep=omega"], "sweep=omega varies retrieval.spatio_temporal.omega only"),
        (["sweep=track_reranking"], "sweep=track_reranking varies retrieval only"),
        (["retrieval.k_reciprocal.k1=10,20"], "retrieval.k_reciprocal.k1=… varies"),
    ):
        done = command("src.train", "--multirun", *arguments)
        assert done.returncode == 1
        assert named in done.stderr
        assert "python -m src.evaluate --multirun" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_sweep_needs_multirun(command, tmp_path):
    done = command("src.train", "sweep=alpha")
    assert done.returncode == 1
    assert "Error: sweep=alpha names several runs; pass --multirun with it." in done.stderr
    assert not (tmp_path / "outputs").exists()
