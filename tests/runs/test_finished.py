import json

import pytest

from src.runs.finished import find_runs, flatten, read_run
from src.runtime.errors import ConfigError

CONFIG = {
    "name": "x",
    "seed": 0,
    "paths": {"run_dir": "here"},
    "workers": 2,
    "method": {"_target_": "src.methods.bot.BoT", "margin": 0.3},
    "backbone": {"name": "resnet50"},
    "data": {"name": "cars", "root": "/data/cars", "layout": {"root": "/data/cars"}},
    "retrieval": {
        "steps": ["spatio_temporal"],
        "top_k": 8,
        "metric": "euclidean",
        "spatio_temporal": {"omega": 0.2},
        "k_reciprocal": {"k1": 20},
        "index": {"kind": "exact"},
    },
}
TASK = {
    "mAP": 0.5,
    "mINP": 0.1,
    "rank": {"1": 0.6, "5": 0.7},
    "queries": 7,
    "gallery": 9,
    "protocol": {"name": "a", "direction": "day → night", "ignore": "none", "ap": "standard"},
}


def write(folder, config=CONFIG, **entries):
    folder.mkdir(parents=True)
    metrics = {
        "schema": 1,
        "tasks": {"a": TASK, "b": TASK},
        "git": "abc",
        "versions": {"torch": "2"},
        "seed": 3,
        "checkpoint_sha": "sha",
        "data": {"name": "cars", "fingerprint": "f"},
        "config": config,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics | entries))
    return folder


def test_runs_are_found_below_sweep_folders_and_by_patterns_in_their_order(tmp_path):
    runs = [write(tmp_path / "sweep" / str(number)) for number in (10, 9, 0)]
    alone = write(tmp_path / "alone_1")
    killed = tmp_path / "sweep" / "1"
    killed.mkdir()
    (killed / "train.log").touch()
    (runs[0] / "train.log").touch()
    assert find_runs([str(tmp_path / "sweep")]) == ([runs[2], runs[1], runs[0]], [killed])
    assert find_runs([str(tmp_path / "alone_*"), str(alone)]) == ([alone], [])
    with pytest.raises(ConfigError, match=r"No metrics\.json in or below .*/1 \(unfinished runs: 1\)"):
        find_runs([str(killed)])
    with pytest.raises(ConfigError, match=r"No folder .*/nowhere; pass runs="):
        find_runs([str(alone), str(tmp_path / "nowhere")])
    with pytest.raises(ConfigError, match="Which runs"):
        find_runs([])


def test_a_relative_pattern_starts_where_the_user_is(tmp_path, monkeypatch):
    write(tmp_path / "outputs" / "a")
    monkeypatch.chdir(tmp_path)
    assert [str(run) for run in find_runs(["outputs/*"])[0]] == ["outputs/a"]


def test_a_run_is_read_with_what_it_measured_before_and_after(tmp_path):
    folder = write(
        tmp_path / "run",
        untrained={"a": TASK},
        before_postprocessing={"a": TASK, "b": TASK},
        postprocessing=["spatio_temporal"],
    )
    found = {(m.settings["features"], m.task): m for m in read_run(folder)}
    assert list(found) == [
        *(("untrained", "a"), ("trained", "a"), ("trained", "b")),
        *(("post-processed", "a"), ("post-processed", "b")),
    ]
    known = {"data": "cars", "method": "BoT", "method._target_": "src.methods.bot.BoT", "method.margin": 0.3}
    known |= {"backbone.name": "resnet50", "data.name": "cars"}
    known |= {"retrieval.metric": "euclidean", "retrieval.index.kind": "exact"}
    assert found["post-processed", "a"].settings == known | {
        "features": "post-processed",
        "retrieval.steps": ["spatio_temporal"],
        "retrieval.spatio_temporal.omega": 0.2,
    }
    assert found["trained", "a"].settings == known | {"features": "trained", "retrieval.steps": []}
    untrained = found["untrained", "a"]
    assert untrained.settings == {
        "data": "cars",
        "features": "untrained",
        "backbone.name": "resnet50",
        "data.name": "cars",
    }
    assert (untrained.weights, found["trained", "a"].weights) == ("", "sha")
    assert {m.seed for m in found.values()} == {3}


def test_an_evaluation_has_the_settings_of_the_training_it_is_of(tmp_path):
    train = write(tmp_path / "train")
    config = {"name": "evaluate", "seed": 0, "data": None, "retrieval": {"steps": []}, "checkpoint": None}
    of_embeddings = config | {"embeddings": str(train / "embeddings")}
    (same,) = {m.seed: m for m in read_run(write(tmp_path / "same", of_embeddings, seed=0))}.values()
    assert same.seed == 3
    assert same.settings["method"] == "BoT"
    assert same.settings["retrieval.steps"] == []
    assert "weights" not in same.settings

    # Embeddings of mirrored images too, made by an evaluation of it, are still those.
    views = {"flip": True, "scales": [1.0]}
    write(tmp_path / "flip", config | {"checkpoint": str(train / "last.ckpt")}, seed=0, views=views)
    again = config | {"embeddings": str(tmp_path / "flip" / "embeddings"), "retrieval": {"flip": False, "steps": []}}
    (found, _) = read_run(write(tmp_path / "again", again, seed=0, views=views))
    assert (found.seed, found.settings["method"], found.settings["retrieval.flip"]) == (3, "BoT", True)

    # Other weights of the same run, or a run that has gone: then the path is what tells the evaluations apart.
    of_best = config | {"checkpoint": str(train / "stages/main/best.ckpt")}
    of_nothing = config | {"checkpoint": str(tmp_path / "nowhere/last.ckpt")}
    for name, said, sha in (("best", of_best, "other"), ("gone", of_nothing, "sha")):
        other = next(iter(read_run(write(tmp_path / name, said, seed=0, checkpoint_sha=sha))))
        assert (other.seed, other.settings["method"], other.settings["weights"]) == (0, None, said["checkpoint"])


def test_an_evaluation_has_the_options_that_it_changed_and_otherwise_those_of_the_training(tmp_path):
    trained = CONFIG | {"method": {"_target_": "src.methods.dndm.DNDM", "awareness_at_test": "none", "margin": None}}
    write(tmp_path / "train", trained)
    config = {"checkpoint": str(tmp_path / "train/last.ckpt"), "data": None, "retrieval": {"steps": []}}
    left = {"method": {"awareness_at_test": "mean", "embedding": None}}
    models = [{"checkpoint_sha": "sha", "method": {"awareness_at_test": "mean"}}]
    found = next(iter(read_run(write(tmp_path / "mean", config | left, models=models))))
    options = {key: value for key, value in found.settings.items() if key.startswith("method")}
    assert options == {
        "method": "DNDM",
        "method._target_": "src.methods.dndm.DNDM",
        "method.awareness_at_test": "mean",
        "method.margin": None,
    }
    # The embeddings that it has left say so too, where nothing of the method can be asked for.
    left = {"method": {"awareness_at_test": None, "embedding": None}, "embeddings": str(tmp_path / "mean/embeddings")}
    again = write(tmp_path / "again", config | {"checkpoint": None} | left, models=models)
    assert next(iter(read_run(again))).settings == found.settings


def test_several_models_have_the_weights_of_all(tmp_path):
    config = {"checkpoints": ["a.ckpt", "b.ckpt"], "retrieval": {"steps": []}}
    folder = write(tmp_path / "two", config, models=[{"checkpoint_sha": s} for s in "ab"])
    found = next(iter(read_run(folder)))
    assert found.weights == "a+b"
    assert found.settings["weights"] == ["a.ckpt", "b.ckpt"]


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON file"), ('{"schema": 2}', "expected schema 1")])
def test_a_foreign_file_is_named(tmp_path, text, message):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"{tmp_path}/metrics\.json .*{message}"):
        list(read_run(tmp_path))


def test_nested_settings_become_dotted_keys_and_lists_stay_values():
    assert flatten({"a": {"b": [{"c": 1}], "d": {}}, "e": None}) == {"a.b": [{"c": 1}], "e": None}
