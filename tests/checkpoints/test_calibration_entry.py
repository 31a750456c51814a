"""A checkpoint with a calibration, and one from before there were any."""

import pytest
import torch

from src.checkpoints.calibration_entry import add_calibration, calibration_of, require_calibration
from src.checkpoints.checkpoint_file import load_checkpoint
from src.retrieval.probabilities.calibration import Calibration, CalibrationErrors, EvidenceCurve, Fit
from src.runtime.errors import ConfigError

CALIBRATION = Calibration(
    EvidenceCurve((-1.0, 0.25, 1.0), (-9.5, 0.0, 4.125)),
    {"day night": EvidenceCurve((0.0, 1.0), (-1.0, 1.0))},
    Fit("isotonic", "held out", 10, 90, 80, 900, 8.5, {"isotonic": CalibrationErrors(0.01, 0.1, 0.4, 0.5, 980)}),
)


def test_what_is_written_is_read_and_all_else_stays(untrained):
    path = untrained("method=bot")
    before = load_checkpoint(path)
    assert calibration_of(before["reid"]) is None
    add_calibration(path, CALIBRATION)
    after = load_checkpoint(path)
    assert calibration_of(after["reid"]) == CALIBRATION
    assert after["reid"].keys() - before["reid"].keys() == {"calibration"}
    for name, weight in before["state_dict"].items():
        assert torch.equal(weight, after["state_dict"][name])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_damaged_entry_is_refused_and_a_missing_one_where_it_is_needed():
    with pytest.raises(ConfigError, match="entry 'calibration' is damaged"):
        calibration_of({"calibration": {"curve": [1, 2]}})
    assert require_calibration(CALIBRATION, "a.ckpt") is CALIBRATION
    with pytest.raises(ConfigError, match=r"a\.ckpt has no calibration, so there are no probabilities, only scores"):
        require_calibration(None, "a.ckpt")
