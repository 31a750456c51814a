import json
from pathlib import Path

import pytest


@pytest.fixture
def broken(tmp_path) -> Path:
    """DN-348's layout with a missing image, an empty one and one that is no picture."""
    root = tmp_path / "cars"
    (root / "train_test_split").mkdir(parents=True)
    for number, (split, domain) in enumerate([(s, d) for s in ("train", "test") for d in ("day", "night")]):
        (root / domain / f"{number}").mkdir(parents=True)
        (root / domain / f"{number}" / "0.jpg").write_text("no picture")
        (root / "train_test_split" / f"{split}_list_{domain}.txt").write_text(f"{number}/0.jpg\n{number}/1.jpg\n")
    (root / "day" / "0" / "1.jpg").touch()
    return root


def test_problems_are_printed_written_and_give_exit_code_1(command, broken, tmp_path):
    report = tmp_path / "found.json"
    done = command(
        "src.check_data", "data=dn_348", f"data.root={broken}", "decode=true", "workers=2", f"report={report}"
    )
    assert done.returncode == 1, done.stderr
    assert "Problem: 3 of 8 listed files are missing" in done.stdout
    assert f"{broken}/day/2/1.jpg" in done.stdout
    assert "Problem: 4 of 4 images and masks cannot be read" in done.stdout
    assert "train: 4 images, expected 19,984" in done.stdout
    assert "Traceback" not in done.stderr
    written = json.loads(report.read_text())
    assert not written["ok"]
    names = [finding["name"] for finding in written["findings"]]
    assert names == ["unexpected_numbers", "missing_files", "empty_files", "unreadable_images"]


def test_a_whole_data_set_gives_exit_code_0(command, quickstart, tmp_path):
    done = command("src.check_data", "data=quickstart", f"data.root={quickstart}")
    assert done.returncode == 0, done.stderr
    assert "No problems." in done.stdout
    (written,) = tmp_path.glob("outputs/check_data/*/check.json")
    assert json.loads(written.read_text())["ok"]


def test_the_data_set_has_to_be_named(command):
    done = command("src.check_data")
    assert done.returncode == 1
    assert "Error: Which data set? Pass data=<one of cityflow" in done.stderr
    helped = command("src.check_data", "--help")
    assert helped.returncode == 0
    assert "duplicates: false" in helped.stdout
