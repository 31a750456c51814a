import os
import subprocess

from src.runtime.provenance import file_sha


def test_file_sha_is_what_sha256sum_says(tmp_path):
    (tmp_path / "x").write_bytes(os.urandom(1000))
    printed = subprocess.run(["sha256sum", tmp_path / "x"], capture_output=True, text=True, check=True).stdout
    assert file_sha(tmp_path / "x") == printed.split()[0]
