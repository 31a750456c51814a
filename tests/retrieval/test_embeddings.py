"""The embeddings folder."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from src.data import make_table
from src.retrieval import (
    DataVersion,
    Embeddings,
    EmbeddingsMeta,
    LogNormal,
    TripModel,
    read_embeddings,
    read_meta,
    same_images,
    write_embeddings,
)

META = EmbeddingsMeta(
    checkpoint="main/last.ckpt",
    checkpoint_sha="abc",
    precision="32-true",
    device="cpu",
    data=DataVersion("cars", "f"),
    evaluation={"names": ["image_to_image"], "ap": "standard", "trials": 10, "seed": 0},
    holdout=0.2,
    trips=TripModel(None, LogNormal(1.5, 0.25)),
    views={"flip": True, "scales": [1.0, 0.75]},
    contamination={"kind": "mosaic", "share": 0.5},
    dimensions=4,
)


def made_up():
    table = make_table(
        "/data",
        "cars",
        {
            "path": ["a.jpg", "b,c.jpg", "d.jpg", "e.jpg"],
            "vehicle_id": [1, 2, 2, 3],
            "split": ["test", "test", "test", "train"],
            "timestamp": [1.5, float("nan"), 3.0, 4.0],
        },
    )
    roads = pd.DataFrame([[0.0, 7.5], [7.5, 0.0]], index=[3, 9], columns=[3, 9])
    return Embeddings(torch.randn(2, 4), np.array([0, 2]), table, roads, META)


def test_it_comes_back_as_it_was(tmp_path):
    embeddings = made_up()
    write_embeddings(tmp_path / "e", embeddings)
    back = read_embeddings(tmp_path / "e")
    assert torch.equal(back.features, embeddings.features)
    np.testing.assert_array_equal(back.rows, embeddings.rows)
    assert back.meta == read_meta(tmp_path / "e", EmbeddingsMeta) == META
    pd.testing.assert_frame_equal(back.table, embeddings.table, check_names=False, check_dtype=False)
    pd.testing.assert_frame_equal(back.camera_distances, embeddings.camera_distances)


def test_features_are_found_by_row_of_the_table():
    embeddings = made_up()
    assert torch.equal(embeddings.of(np.array([2, 0, 2])), embeddings.features[[1, 0, 1]])
    with pytest.raises(ValueError, match="2 of 3 images are not among the 2 embedded ones"):
        embeddings.of(np.array([0, 1, 3]))


@pytest.mark.parametrize("name", ["meta.json", "table.csv", "features.safetensors"])
def test_an_interrupted_folder_is_refused(tmp_path, name):
    write_embeddings(tmp_path, made_up())
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        read_embeddings(tmp_path)


def test_models_can_be_joined_if_they_saw_the_same_images():
    one, other = made_up(), made_up()
    assert same_images(one, other)
    one.table["box"] = "0 0 4 4"  # cropped by one of them
    assert same_images(one, other)
    assert not same_images(one, replace(other, rows=np.array([0, 1])))
    other.table.loc[1, "vehicle_id"] = 7
    assert not same_images(one, other)
