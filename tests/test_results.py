import json
import os
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch

from src.data import make_table
from src.results import file_sha, read_embeddings, write_atomically, write_embeddings


def test_embeddings_folder_comes_back_as_it_was(tmp_path):
    table = make_table(
        "/data",
        "cars",
        {
            "path": ["a.jpg", "b,c.jpg", "d.jpg"],
            "vehicle_id": [1, 2, 2],
            "split": ["test"] * 3,
            "timestamp": [1.5, float("nan"), 3.0],
        },
    )
    features, rows = torch.randn(2, 4), np.array([1, 2])
    write_embeddings(tmp_path / "e", features, rows, table, {"checkpoint_sha": "abc"})
    back = read_embeddings(tmp_path / "e")
    assert torch.equal(back.features, features)
    assert back.meta == {"checkpoint_sha": "abc"}
    pd.testing.assert_frame_equal(back.table, table.iloc[rows], check_names=False, check_dtype=False)


def test_an_interrupted_embeddings_folder_is_refused(tmp_path):
    table = make_table("/data", "cars", {"path": ["a.jpg"], "split": ["test"]})
    write_embeddings(tmp_path, torch.randn(1, 4), np.array([0]), table, {})
    (tmp_path / "meta.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"meta\.json is missing"):
        read_embeddings(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.json"
    write_atomically(path, json.dumps({"old": 1}))
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert json.loads(path.read_text()) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_file_sha_is_what_sha256sum_says(tmp_path):
    (tmp_path / "x").write_bytes(os.urandom(1000))
    said = subprocess.run(["sha256sum", tmp_path / "x"], capture_output=True, text=True, check=True).stdout
    assert file_sha(tmp_path / "x") == said.split()[0]
