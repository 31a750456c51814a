"""The package as somebody else installs it."""

import subprocess
import sys
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parent.parent


def test_the_wheel_brings_its_configuration_and_starts_anywhere(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "src.train", "method=bot", "--cfg", "job"],
        cwd=elsewhere,
        env={"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "_target_: src.methods.bot.BoT" in done.stdout


def test_nothing_but_the_agreed_lies_at_the_top():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}
    assert top <= {
        *("src", "conf", "tests", "scripts", "docs", "data", ".ci", "README.md", "pyproject.toml", "Makefile"),
        *("LICENSE", "CITATION.cff", "constraints.txt", ".gitignore", ".pre-commit-config.yaml"),
    }
