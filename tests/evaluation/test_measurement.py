import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from src.data import make_table
from src.evaluation import measurement
from src.evaluation.measurement import measure, show_results, write_results
from src.evaluation.metrics_file import has_metrics, read_metrics
from src.retrieval import DataVersion, Embeddings, EmbeddingsMeta
from src.runtime.errors import ConfigError


@pytest.fixture
def options(composed):
    return composed("embeddings=x", "retrieval.top_k=4", config="evaluate").retrieval


@pytest.fixture
def embeddings(tmp_path):
    """Random features of forty test images of eight vehicles in four cameras, none of them on disk."""
    vehicles = np.arange(40) % 8
    columns = {"path": [f"{n}.jpg" for n in range(40)], "vehicle_id": vehicles, "camera_id": np.arange(40) // 10}
    table = make_table(tmp_path, "cars", columns | {"split": "test"})
    meta = EmbeddingsMeta("main/last.ckpt", data=DataVersion("cars", "f"), evaluation={"names": ["image_to_image"]})
    features = torch.nn.functional.normalize(torch.randn(40, 8) + torch.eye(8)[vehicles])
    return Embeddings(features, np.arange(40), table, None, meta)


def written(measured, folder):
    return write_results(measured, folder, seed=3, config={"a": 1})


def test_it_is_measured_with_and_without_steps_and_written(options, embeddings, tmp_path):
    plain = measure([embeddings], options)
    assert plain.before == {}
    options.steps, options.k_reciprocal.k1, options.k_reciprocal.k2 = ["k_reciprocal"], 4, 2
    measured = measure([embeddings], options)
    assert measured.before["image_to_image"].mean_ap == plain.results["image_to_image"].mean_ap
    assert measured.results["image_to_image"].mean_ap != plain.results["image_to_image"].mean_ap
    known = measure([embeddings], options, plain.results)  # not measured again
    assert known.before is plain.results
    metrics = written(measured, tmp_path)
    assert read_metrics(tmp_path) == metrics
    assert (metrics.seed, metrics.config, metrics.steps) == (3, {"a": 1}, None)
    assert metrics.tasks == {"image_to_image": measured.results["image_to_image"].record()}
    assert metrics.before_postprocessing == {"image_to_image": plain.results["image_to_image"].record()}
    assert metrics.breakdowns["image_to_image"]["camera_id"].keys() == {"0", "1", "2", "3"}


def test_a_recall_that_fails_takes_no_number_with_it(options, embeddings, tmp_path, monkeypatch):
    options.index = OmegaConf.create({"kind": "hnsw", "m": 4})
    measured = measure([embeddings], options)
    with monkeypatch.context() as patched:
        patched.setattr(measurement, "recall", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            written(measured, tmp_path)
    before = read_metrics(tmp_path)
    assert before.index is None
    metrics = written(measured, tmp_path)
    assert metrics.tasks == before.tasks
    assert (metrics.index.kind, metrics.index.recall_at, metrics.index.options["m"]) == ("hnsw", 4, 4)
    assert metrics.index.recall["image_to_image"] > 0.9
    assert read_metrics(tmp_path) == metrics


def test_pictures_that_cannot_be_drawn_come_after_the_numbers(options, embeddings, tmp_path, capsys):
    measured = measure([embeddings], options)
    metrics = written(measured, tmp_path)
    assert "image_to_image" in capsys.readouterr().out
    with pytest.raises(ValueError, match="cannot be read"):  # there are no images
        show_results(measured, metrics, tmp_path)
    assert read_metrics(tmp_path).tasks == metrics.tasks


def test_without_tasks_nothing_is_measured(options, embeddings, caplog):
    meta = EmbeddingsMeta(evaluation={"names": []})
    nothing = Embeddings(embeddings.features, embeddings.rows, embeddings.table, None, meta)
    assert measure([nothing], options).results == {}
    assert "has no tasks" in caplog.text


def test_models_of_other_images_are_refused(options, embeddings, tmp_path):
    fewer = Embeddings(embeddings.features[:9], embeddings.rows[:9], embeddings.table, None, embeddings.meta)
    with pytest.raises(ConfigError, match=r"are of different images, .* \(cars f, cars f\)"):
        measure([embeddings, fewer], options)
    assert not has_metrics(tmp_path)
