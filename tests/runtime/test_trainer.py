import pytest
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

from src.runtime.trainer import build_trainer
from src.runtime.training_lines import TrainingLines


def test_numbers_are_shown_when_loggers_read_them_anyway(composed, tmp_path, monkeypatch):
    monkeypatch.setattr("src.runtime.trainer.on_terminal", lambda: True)
    cfg = composed("method=bot", "data=quickstart_veri", "trainer=cpu", "trainer.log_every_n_steps=7")
    trainer = build_trainer(cfg.trainer, default_root_dir=tmp_path)
    bars = [callback for callback in trainer.callbacks if isinstance(callback, ProgressBar)]
    assert [type(bar) for bar in bars] == [TQDMProgressBar]
    assert bars[0].refresh_rate == 7


def test_without_a_terminal_there_are_lines(composed, tmp_path):
    trainer = build_trainer(composed("trainer=cpu").trainer, default_root_dir=tmp_path)
    bars = [callback for callback in trainer.callbacks if isinstance(callback, ProgressBar)]
    assert [type(bar) for bar in bars] == [TrainingLines]


@pytest.mark.parametrize("where", ["configuration", "options"])
def test_no_bar_where_none_is_wanted(composed, tmp_path, where):
    off = {"enable_progress_bar": False}
    cfg = composed("trainer=cpu", *(["+trainer.enable_progress_bar=false"] if where == "configuration" else []))
    trainer = build_trainer(cfg.trainer, default_root_dir=tmp_path, **(off if where == "options" else {}))
    assert not [callback for callback in trainer.callbacks if isinstance(callback, ProgressBar)]
