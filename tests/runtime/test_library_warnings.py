import logging
import warnings
from pathlib import Path

import pytest

from src.runtime import library_warnings
from src.runtime.library_warnings import first_sentence, said_once


def warned(filename, message, category=UserWarning):
    warnings.warn_explicit(message, category, filename, 7)


def test_a_warning_is_one_sentence_once_and_names_who_warns(caplog, capsys):
    caplog.set_level(logging.INFO)
    torch = "/x/lib/python3.11/site-packages/torch/optim/lr.py"
    with said_once():
        for epoch in range(3):
            warned(torch, f"Detected a call\n  of `step()`. See https://x.y for more (epoch {epoch}).")
        warned("/x/site-packages/six.py", "Another thing")
        warned(f"{Path(library_warnings.__file__).parent.parent}/retrieval/x.py", "Ours. All of it.", RuntimeWarning)
    assert [record.getMessage() for record in caplog.records] == [
        "torch warns: Detected a call of `step()`.",
        "six warns: Another thing",
        "Ours. All of it.",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("`np.foo` goes away in 3.0", DeprecationWarning),
        ("The default will change", FutureWarning),
        ("The 'train_dataloader' does not have many workers which may be a bottleneck.", UserWarning),
    ],
)
def test_what_nobody_can_do_anything_about_is_not_said(caplog, message, category):
    with said_once():
        warned("/x/site-packages/a/b.py", message, category)
    assert not caplog.records


def test_other_processes_and_what_comes_after_are_left_alone(caplog, monkeypatch):
    shown = warnings.showwarning
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("GROUP_WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    with said_once():
        warned("/x/site-packages/a/b.py", "Look out.")
    assert not caplog.records
    assert warnings.showwarning is shown


def test_a_sentence_ends_where_it_ends():
    assert first_sentence("Needs version 1.5 of x. Get it.") == "Needs version 1.5 of x."
    assert first_sentence("No end") == "No end"
