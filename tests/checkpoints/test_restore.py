"""Checkpoints: written whole or not at all, read without running code, refused with what is wrong."""

import errno
import os

import pytest
import torch

from src.checkpoints.checkpoint_file import WholeCheckpoints, load_checkpoint
from src.checkpoints.restore import restore_method
from src.runtime.errors import ConfigError
from tests.tiny_backbone import TINY_BACKBONE


class Evil:
    """What a malicious checkpoint holds: whoever unpickles it calls `os.mkdir`."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_checkpoint_of_somebody_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No checkpoint at"):
        load_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(ConfigError, match=r"text\.ckpt is no checkpoint, or was cut off at 13 bytes"):
        load_checkpoint(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(ConfigError, match=r"no checkpoint of this project.*backbone\.weights=<file>"):
        load_checkpoint(tmp_path / "foreign.ckpt")
    torch.save({"state_dict": {}, "reid": {"config": {}}}, tmp_path / "little.ckpt")
    with pytest.raises(ConfigError, match="does not say its stage, labels under 'reid'"):
        load_checkpoint(tmp_path / "little.ckpt")
    for share in (0, 1, 50, 99):
        content = (tmp_path / "foreign.ckpt").read_bytes()
        (tmp_path / "cut.ckpt").write_bytes(content[: len(content) * share // 100])
        with pytest.raises(ConfigError, match="or was cut off"):
            load_checkpoint(tmp_path / "cut.ckpt")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"state_dict": {}, "reid": Evil(str(tmp_path / "made"))}, tmp_path / "evil.ckpt")
    for read in (load_checkpoint, WholeCheckpoints().load_checkpoint):
        with pytest.raises(ConfigError, match=r"evil\.ckpt holds Python objects whose reading could run code"):
            read(tmp_path / "evil.ckpt")
    assert not (tmp_path / "made").exists()
    config = {"method": {"_target_": "os.system"}, "backbone": {"_target_": "os.system"}}
    reid = {"config": config, "stage": "main", "labels": []}
    torch.save({"state_dict": {}, "reid": reid}, tmp_path / "targets.ckpt")
    with pytest.raises(ConfigError, match=r"os\.system"):
        restore_method(tmp_path / "targets.ckpt")


def test_weights_that_are_not_those_of_the_network_described_are_refused(untrained):
    path = untrained("method=bot", *TINY_BACKBONE)
    checkpoint = load_checkpoint(path)
    checkpoint["reid"]["labels"].pop()
    checkpoint["state_dict"].pop("neck.bn.weight")
    torch.save(checkpoint, path)
    with pytest.raises(
        ConfigError,
        match=r"last\.ckpt are not those .*: 1 missing \(neck\.bn\.weight\); "
        r"1 of another shape \(neck\.classifier\.weight \(5, 96\), here \(4, 96\)\)",
    ):
        restore_method(path)


def test_a_dndm_of_before_the_mean_of_its_class_maps_was_recorded_is_restored(untrained):
    path = untrained("method=dndm", "method.structure_stages=[]")
    checkpoint = load_checkpoint(path)
    del checkpoint["reid"]["config"]["method"]["awareness_at_test"]
    for stage in (1, 2, 3, 4):
        del checkpoint["state_dict"][f"network.awareness.{stage}.running_map"]
    torch.save(checkpoint, path)
    for options in (None, {"awareness_at_test": "own"}):
        restored = restore_method(path, options).state_dict()
        assert all(restored[name].equal(value) for name, value in checkpoint["state_dict"].items())
    with pytest.raises(ConfigError, match="before training recorded that mean; train again, or pass none or own"):
        restore_method(path, {"awareness_at_test": "mean"})


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    checkpoints = WholeCheckpoints()
    checkpoints.save_checkpoint({"weights": torch.arange(3)}, path)
    before = path.read_bytes()

    def full(_file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"last\.ckpt cannot be written \(No space left .* is as it was\. Make room"):
            checkpoints.save_checkpoint({"weights": torch.arange(4)}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

    (tmp_path / ".last.ckpt.123").write_text("half")  # of a process that was killed
    checkpoints.save_checkpoint({"weights": torch.arange(4)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.arange(4))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("said", "strides"), [((), [16, 32]), (("backbone.last_stride=1",), [16, 16])])
def test_a_checkpoint_keeps_the_last_stride_that_it_was_trained_with(untrained, said, strides):
    assert restore_method(untrained("method=vehiclenet", *said)).backbone.strides[-2:] == strides
