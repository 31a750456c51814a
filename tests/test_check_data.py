import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def broken(tmp_path) -> Path:
    """DN-348's layout with a missing image, an empty one and one that is no picture."""
    root = tmp_path / "cars"
    (root / "train_test_split").mkdir(parents=True)
    for number, split, domain in [(n, s, d) for n, s in ((0, "train"), (2, "test")) for d in ("day", "night")]:
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
    found = json.loads(written.read_text())
    assert found["ok"]
    (train,) = (side["found"] for side in found["sides"] if side["side"] == "train")
    (counts,) = found["images_a_class"].values()
    assert (len(counts), sum(counts)) == (train["vehicles"], train["images"])
    assert (written.parent / "images_a_class.png").is_file()


def test_lists_alone_are_checked_and_name_the_images_they_want(command, broken, tmp_path):
    for folder in ("day", "night"):
        shutil.rmtree(broken / folder)
    (broken / "train_test_split" / "train_list_day.txt").write_text("0/0.jpg\n1/7\n")
    options = ("data=dn_348", f"data.root={broken}", "data.images=false", f"report={tmp_path}/found.json")
    done = command("src.check_data", *options)
    assert done.returncode == 0, done.stderr
    assert f"Warning: 8 images are wanted below {broken}; none was looked for." in done.stdout
    assert "train: 2 images by day and 2 by night (50%); 1 of 2 vehicles by day and by night (50.0%)" in done.stdout
    assert "Warning: 1 of 2 training vehicles are there by day alone or by night alone" in done.stdout
    findings = {one["name"]: one for one in json.loads((tmp_path / "found.json").read_text())["findings"]}
    assert findings.keys() == {"unexpected_numbers", "vehicles_of_one_time", "wanted_images"}
    assert f"{broken}/day/1/7.jpg" in findings["wanted_images"]["items"]
    assert "train: 2 day, expected 9,962" in findings["unexpected_numbers"]["items"]
    assert command("src.check_data", *options[:2]).returncode == 1  # now they are missing
    refused = command("src.check_data", *options, "decode=true")
    assert "data.images=false looks at lists alone; leave decode and duplicates away" in refused.stderr


def test_one_camera_is_a_problem_with_its_rule(command, tmp_path):
    rows = [f"{number}.jpg,{number % 3},{'train' if number < 3 else 'test'},1" for number in range(9)]
    (tmp_path / "table.csv").write_text("\n".join(["path,vehicle_id,split,camera_id", *rows]))
    done = command("src.check_data", "data=csv", f"data.root={tmp_path}", "data.images=false")
    assert done.returncode == 1
    assert "Task 'image_to_image': the rule same_camera leaves none of the 6 queries" in " ".join(done.stdout.split())
    assert "(camera_id)" in done.stdout


def test_the_data_set_has_to_be_named(command):
    done = command("src.check_data")
    assert done.returncode == 1
    assert "Error: Which data set? Pass data=<one of cityflow" in done.stderr
    helped = command("src.check_data", "--help")
    assert helped.returncode == 0
    assert "duplicates: false" in helped.stdout
