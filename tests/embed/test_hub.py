"""Checkpoints by their names on the hub, which is a folder in its cache here: no test asks the network."""

import builtins
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import constants, errors

from src.embed import Embedder
from src.embed.hub import checkpoint_file
from src.runtime.errors import ConfigError

NEW, OLD = "1" * 40, "2" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's cache, offline; returns a function that puts a file into it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)

    def put(file, commit, branch=None):
        folder = tmp_path / "hub/models--someone--car"
        (folder / "snapshots" / commit).mkdir(parents=True)
        shutil.copy(file, folder / "snapshots" / commit / "model.ckpt")
        if branch is not None:
            (folder / "refs").mkdir(exist_ok=True)
            (folder / "refs" / branch).write_text(commit)

    return put


def test_a_repository_and_its_revisions(hub, untrained, quickstart):
    image = next((quickstart / "day").rglob("*.jpg"))
    first = untrained("method=bot")
    hub(first, OLD, "v1")
    old = Embedder(first, device="cpu")(image)
    content, second = torch.load(first, weights_only=True), first.with_name("second.ckpt")
    for value in content["state_dict"].values():
        if value.is_floating_point() and value.ndim == 4:
            value.add_(0.2 * value.std() * torch.randn_like(value))
    torch.save(content, second)
    hub(second, NEW, "main")
    new = Embedder(second, device="cpu")(image)
    assert abs(new - old).max() > 1e-3
    for name, expected in (("", new), ("@main", new), ("@v1", old), (f"@{OLD}", old)):
        np.testing.assert_array_equal(Embedder(f"someone/car{name}", device="cpu")(image), expected)


def test_a_strangers_classes_and_objects_are_refused(hub, untrained, tmp_path):
    content = torch.load(untrained("method=bot"), weights_only=True)
    content["reid"]["config"]["method"]["_target_"] = "os.system"
    torch.save(content, tmp_path / "bad.ckpt")
    hub(tmp_path / "bad.ckpt", NEW, "main")
    with pytest.raises(ConfigError, match=r"names 'os\.system', .*REID_TRUST"):
        Embedder("someone/car")
    torch.save({"state_dict": {}, "reid": shutil.copy}, tmp_path / "objects.ckpt")
    hub(tmp_path / "objects.ckpt", OLD)
    with pytest.raises(ConfigError, match="holds Python objects whose reading could run code"):
        Embedder(f"someone/car@{OLD}")


def test_what_is_not_there_is_said(hub, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no file someone/car here, and the hub cannot be reached"):
        Embedder("someone/car")
    with pytest.raises(ConfigError, match=r"No checkpoint at someone/car\.ckpt"):
        Embedder("someone/car.ckpt")
    with pytest.raises(ConfigError, match="No checkpoint at a/b/c"):
        Embedder("a/b/c")
    for error, said in (
        (errors.RepositoryNotFoundError, "no repository of that name on the hub that you may read"),
        (errors.RevisionNotFoundError, "has no revision 'v9'"),
        (errors.RemoteEntryNotFoundError, r"has no model\.ckpt; it was not published"),
        (errors.HfHubHTTPError, r"cannot be fetched from the hub \(Server Error\)"),
    ):

        def failing(*_, error=error, **__):
            raise error("Server Error", response=_Response())

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", failing)
        with pytest.raises(ConfigError, match=said):
            checkpoint_file("someone/car@v9")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"The folder empty has no model\.ckpt"):
        Embedder("empty")
    real = builtins.__import__

    def without(name, *arguments):
        if name.startswith("huggingface_hub"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"needs huggingface_hub: pip install 'vehicle-reid\[hub\]'"):
        checkpoint_file("someone/car")


class _Response:
    status_code = 500
    request = None
    text = ""

    def __init__(self):
        self.headers = {}


def test_a_folder_and_what_lies_here_come_first(hub, untrained, tmp_path):
    (tmp_path / "someone/car").mkdir(parents=True)
    shutil.copy(untrained("method=bot"), tmp_path / "someone/car/model.ckpt")
    assert str(checkpoint_file("someone/car")) == "someone/car/model.ckpt"
    (tmp_path / "someone/file").write_text("")
    assert str(checkpoint_file("someone/file")) == "someone/file"
