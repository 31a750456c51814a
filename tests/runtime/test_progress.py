"""What long work says of itself: in a file, on a terminal, in several processes."""

import logging
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from src.runtime import progress
from src.runtime.progress import Work, duration, tracked, working

SCRIPT = """
import logging, time
from src.runtime import progress
progress.PAUSE = 0.05
logging.basicConfig(level=logging.INFO, format="%(message)s")
for _ in progress.tracked(range(4), "Embedding", 4):
    time.sleep(0.06)
"""


@pytest.fixture
def lines(caplog, monkeypatch):
    """The lines so far, one every 20 ms."""
    monkeypatch.setattr(progress, "PAUSE", 0.02)
    caplog.set_level(logging.INFO, "src.runtime.progress")
    return lambda: [record.getMessage() for record in caplog.records]


def wait(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_long_work_says_how_far_it_is_and_when_it_is_done(lines):
    with working("Embedding", 1000, "images") as work:
        work.advance(250)
        wait(lambda: len(lines()) > 1)
    first, *_, last = lines()
    assert re.fullmatch(
        r"Embedding: 250 of 1,000 images \(25%\), [\d,.]+ images/s, about \d+ s left, at most [\d.]+ GB\.", first
    )
    assert re.fullmatch(r"Embedding: done in \d+ s, at most [\d.]+ GB\.", last)


def test_a_single_operation_is_heard_of_too(lines):
    with working("Ranking after k_reciprocal"):
        wait(lines)
    assert re.fullmatch(r"Ranking after k_reciprocal: at work for \d+ s, at most [\d.]+ GB\.", lines()[0])


def test_short_work_says_nothing(caplog):
    caplog.set_level(logging.INFO)
    assert list(tracked([1, 2, 3], "Decoding", 3)) == [1, 2, 3]
    assert not caplog.records


def test_work_that_failed_says_nothing_more(lines):
    def fail():
        with working("Decoding", 10, "files"):
            wait(lines)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    said = len(lines())
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
    assert "done" not in lines()[-1]
    time.sleep(0.06)
    assert len(lines()) == said


def test_only_the_first_process_speaks(lines, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("RANK", "1"), ("WORLD_SIZE", "2"), ("GROUP_WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    with working("Embedding", 10) as work:
        work.advance(3)
        time.sleep(0.1)
    assert not lines()


def test_a_line_says_what_is_known():
    work = Work("Cropping", unit="s", rate=False)
    assert re.fullmatch(r"Cropping: at work for 0 s, at most [\d.]+ GB\.", work.line())
    work.reach(30, None, "12.5 frames/s")
    assert "Cropping: 30 s, 12.5 frames/s, at work for" in work.line()
    work.reach(45, 90)
    assert "Cropping: 45 of 90 s (50%), 12.5 frames/s, about" in work.line()
    work.reach(90)
    assert "left" not in work.line()  # something may come after it
    work.note = lambda: "loss 1.5"
    assert "loss 1.5" in work.line()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (61, "1 min 1 s"), (3661, "1 h 1 min"), (90000, "25 h 0 min")]
)
def test_durations_are_said_as_people_do(seconds, said):
    assert duration(seconds) == said


def test_a_file_gets_lines_and_no_carriage_returns(tmp_path):
    file = tmp_path / "log"
    with file.open("w") as out:
        subprocess.run([sys.executable, "-c", SCRIPT], stdout=out, stderr=out, check=True)
    text = file.read_text()
    assert "Embedding: 1 of 4 images (25%)" in text
    assert "Embedding: done in 0 s" in text
    assert not set("\r\x1b\b") & set(text)


@pytest.mark.skipif(sys.platform == "win32", reason="which has no pseudo terminals")
def test_a_terminal_gets_a_bar_and_no_lines():
    import pty

    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        parts = []
        try:
            while part := os.read(master, 4096):
                parts.append(part)
        except OSError:  # Linux's way of saying that the other end is closed
            pass
    os.close(master)
    text = b"".join(parts).decode()
    assert process.returncode == 0
    assert "━" in text
    assert "100%" in text
    assert "of 4 images" not in text
