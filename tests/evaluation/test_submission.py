"""From hidden vehicles to the challenge's file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from src.data import make_table
from src.evaluation import submission
from src.retrieval import DataVersion, Embeddings, EmbeddingsMeta, read_embeddings, write_embeddings
from src.runtime.errors import ConfigError


@pytest.fixture
def hidden(tmp_path):
    """Embeddings of 5 queries and 130 gallery images of unknown vehicles, in tracks of 10."""
    table = make_table(
        "/data",
        "cityflow",
        {
            "path": [f"{i}.jpg" for i in range(140)],
            "vehicle_id": -1,
            "track_id": [-1] * 10 + [i // 10 for i in range(130)],
            "split": ["train"] * 5 + ["query"] * 5 + ["gallery"] * 130,
        },
    )
    features = F.normalize(torch.randn(135, 8))
    meta = EmbeddingsMeta(data=DataVersion("cityflow", "f"), evaluation={"names": [], "ap": "standard"})
    write_embeddings(tmp_path / "embeddings", Embeddings(features, np.arange(5, 140), table, None, meta))
    return tmp_path / "embeddings", features


def lines(path):
    return [[int(number) for number in line.split()] for line in path.read_text().splitlines()]


def test_the_hundred_nearest_images_of_each_query_are_written(composed, hidden):
    folder, features = hidden
    out = submission.run(composed(f"embeddings={folder}", config="submit"))
    distances = torch.cdist(features[:5].double(), features[5:].double())
    assert lines(out) == (distances.argsort(dim=1)[:, :100] + 1).tolist()


def test_post_processing_comes_before(composed, hidden):
    folder, _ = hidden
    steps = "retrieval.steps=[track_features,k_reciprocal,expand_tracks]"
    ranked = lines(submission.run(composed(f"embeddings={folder}", steps, config="submit")))
    for line in ranked:  # whole tracks one after the other
        assert [len({(image - 1) // 10 for image in line[i : i + 10]}) for i in range(0, 100, 10)] == [1] * 10
    with pytest.raises(ConfigError, match="add expand_tracks"):
        submission.run(composed(f"embeddings={folder}", "retrieval.steps=[track_features]", config="submit"))


def write_permuted(hidden) -> Path:
    """Embeddings of the same images by another model, whose gallery is listed in another order."""
    folder, _ = hidden
    stored = read_embeddings(folder)
    order = np.concatenate([np.arange(10), 10 + np.random.default_rng(0).permutation(130)])
    table = stored.table.iloc[order].reset_index(drop=True)
    features = stored.features[torch.from_numpy(order[5:] - 5)]
    other = folder.parent / "permuted"
    write_embeddings(other, Embeddings(features, stored.rows, table, None, stored.meta))
    return other


@pytest.mark.parametrize("step", ["concatenate", "sum_distances"])
def test_models_that_saw_other_images_are_not_joined(composed, hidden, step):
    folder, _ = hidden
    other = write_permuted(hidden)
    steps = f"retrieval.steps=[{step}]"
    with pytest.raises(ConfigError, match="are of different images, or of the same in another order"):
        submission.run(composed(f"embeddings=[{folder},{other}]", steps, config="submit"))
    out = submission.run(composed(f"embeddings=[{folder},{folder}]", steps, config="submit"))
    assert lines(out) == lines(submission.run(composed(f"embeddings={folder}", config="submit")))


def test_what_a_filter_takes_out_fills_the_list(composed, hidden, caplog):
    folder, features = hidden
    stored = read_embeddings(folder)
    table = stored.table.copy()
    table["timestamp"] = [0.0] * 10 + [float(i) for i in range(130)]
    write_embeddings(folder, Embeddings(stored.features, stored.rows, table, None, stored.meta))
    out = submission.run(
        composed(
            f"embeddings={folder}", "retrieval.steps=[time_window]", "retrieval.time_window.tau=29.5", config="submit"
        )
    )
    distances = torch.cdist(features[:5].double(), features[5:].double()).numpy()
    for found, row in zip(lines(out), distances, strict=True):
        inside, outside = np.arange(30), np.arange(30, 130)
        expected = [*inside[row[inside].argsort()], *outside[row[outside].argsort()]]
        assert (np.array(found) - 1).tolist() == expected[:100]
    assert "Filters leave 5 queries fewer than 100 images" in caplog.text


def test_too_small_a_gallery_is_refused(composed, tmp_path):
    table = make_table("/data", "cars", {"path": ["a", "b"], "split": ["query", "gallery"]})
    write_embeddings(tmp_path / "e", Embeddings(torch.randn(2, 4), np.arange(2), table))
    with pytest.raises(ConfigError, match="1 queries and 1 gallery images"):
        submission.run(composed(f"embeddings={tmp_path}/e", config="submit"))
