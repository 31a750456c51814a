"""Bad input that no other test has, and `docs/reliability.md`, which must name a test for every row of its table."""

import ast
import copy
import re
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from aiohttp import web
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset

from src.config.checks import check_config
from src.data.protocols import build_tasks
from src.data.table import DataError, make_table
from src.networks.backbone.weights import read_state_dict
from src.retrieval import Embeddings, write_embeddings
from src.runtime.errors import ConfigError, sentence
from src.runtime.launch import relaunch
from src.runtime.trainer import build_trainer

ROOT = Path(__file__).resolve().parent.parent


def functions(file):
    """Names of the functions of a Python file."""
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_row_of_the_table_names_a_test_that_there_is():
    text = (ROOT / "docs/reliability.md").read_text()
    table = re.search(r"\| what is wrong \|.*?\n\|[-|]+\n((?:\|.*\n)+)", text)
    rows = table[1].splitlines()
    assert len(rows) >= 20
    for row in rows:
        named = re.findall(r"`(tests/\S+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert test in functions(ROOT / file), row


def test_what_is_no_number_is_refused(checked):
    cfg = checked("method=bot")
    for key, value, message in (
        ("epochs", "abc", "epochs is 'abc', expected a whole number"),
        ("workers", "two", "workers is 'two', expected a whole number or null"),
        ("optim.optimizer.lr", "fast", r"optim\.optimizer\.lr is 'fast', expected a number"),
        ("sampler.ids", 2.5, r"sampler\.ids is 2\.5, expected a whole number"),
        ("transforms.mask", "perhaps", r"transforms\.mask is 'perhaps', expected true or false"),
        ("stages.main.allow_partial", "perhaps", r"stages\.main\.allow_partial is 'perhaps', expected true or false"),
        ("epochs", 0, "epochs is 0, expected at least 1"),
    ):
        wrong = copy.deepcopy(cfg)
        OmegaConf.update(wrong, key, value)
        with pytest.raises(ConfigError, match=message):
            check_config(wrong)


def test_an_error_in_a_loader_process_is_its_own_sentence():
    class Broken(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, _):
            raise DataError("The image is cut off.")

    with pytest.raises(DataError) as caught:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert "Traceback" in str(caught.value)
    assert sentence(caught.value) == "The image is cut off."
    assert sentence(ValueError("Caught in the rain.")) == "Caught in the rain."


def test_a_choice_that_there_is_not_is_refused_with_those_there_are(command):
    done = command("src.train", "method=bott")
    assert done.returncode == 1
    assert "Could not find 'method/bott'" in done.stderr
    assert re.search(r"Available options in 'method':(\n\t\w+)*\n\tbot\n", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_run_folder_that_cannot_be_written_is_refused(command, tmp_path):
    (tmp_path / "file").touch()
    for options, kind in ([], "run"), (["--multirun"], "sweep"):
        done = command("src.train", *options, "method=bot", f"hydra.{kind}.dir={tmp_path}/file/run")
        assert done.returncode == 1
        assert f"file/run cannot be written (Not a directory); pass another as hydra.{kind}.dir" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_gpu_that_there_is_not_is_refused(composed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"torch sees no GPU on this machine; pass trainer=cpu"):
        build_trainer(composed("trainer=gpu").trainer)


def test_who_starts_several_processes_passes_on_that_they_shall_end(monkeypatch, tmp_path):
    torchrun = tmp_path / "torchrun"
    torchrun.write_text("#!/bin/sh\nsleep 0.5\nkill -TERM $PPID\nexec sleep 60\n")
    torchrun.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(torchrun))
    job = SimpleNamespace(overrides=SimpleNamespace(task=[]), runtime=SimpleNamespace(output_dir=str(tmp_path)))
    monkeypatch.setattr(HydraConfig, "get", lambda: job)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        relaunch("src.train", 2)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_port_that_is_taken_is_refused(command, monkeypatch):
    for name in ("src.gallery.Gallery.open", "src.gallery.query.matching_embedder"):
        monkeypatch.setattr(name, lambda *_: None)
    monkeypatch.setattr("src.gallery.page.make_app", lambda *_: web.Application())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("src.app", "index=x", f"port={port}")
    assert done.returncode == 1
    assert f"Error: host=127.0.0.1 port={port} is not free" in done.stderr


def test_queries_whose_vehicles_are_not_in_the_gallery_are_refused():
    columns = {"path": ["a", "b", "c"], "vehicle_id": [1, 2, 3], "split": ["query", "query", "gallery"]}
    table = make_table("root", "cars", columns)
    with pytest.raises(DataError, match=r"no vehicle of the 2 queries .* is in the gallery, .* number vehicles alike"):
        build_tasks(table, ["image_to_image"])
    table.loc[2, "vehicle_id"] = 2
    (task,) = build_tasks(table, ["image_to_image"])
    assert task.trials[0].query.tolist() == [0, 1]


def test_embeddings_that_cannot_be_written_are_named(tmp_path):
    table = make_table("root", "cars", {"path": ["a"], "vehicle_id": [1], "split": ["query"]})
    embeddings = Embeddings(torch.zeros(1, 2), np.zeros(1, np.int64), table)
    (tmp_path / "features.safetensors").mkdir()
    with pytest.raises(OSError, match=r"features\.safetensors cannot be written \(.*\)\. Make room"):
        write_embeddings(tmp_path, embeddings)


@pytest.mark.parametrize("share", [0, 1, 50, 99])
def test_weights_that_are_cut_off_are_refused(tmp_path, share):
    torch.save({"weight": torch.zeros(100)}, tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) * share // 100])
    with pytest.raises(ValueError, match=r"cut\.pth"):
        read_state_dict(tmp_path / "cut.pth")
