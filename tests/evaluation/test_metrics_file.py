import json
import os
import subprocess

import pytest

from src.runtime.provenance import file_sha
from src.runtime.whole_files import write_atomically


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
