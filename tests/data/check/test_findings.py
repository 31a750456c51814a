import json
import shutil
from pathlib import Path

import pytest

from src.data.check import expected
from src.data.check.expected import EXPECTED, Counts
from src.data.check.findings import check, count_sides
from src.data.layouts import CSV, DayNight, VeRi776
from src.data.table import DataError, make_table


@pytest.fixture
def root(tmp_path, write_image) -> Path:
    """Six images: vehicle 1 in training and test, 2 in training, 3 in the test."""
    lines = ["path,vehicle_id,split,camera_id,mask"]
    for number, (vehicle, split) in enumerate(
        [(1, "train"), (1, "query"), (2, "train"), (2, "train"), (3, "query"), (3, "gallery")]
    ):
        write_image(tmp_path / "cars" / f"{number}.png", seed=number)
        write_image(tmp_path / "masks" / f"{number}.png", seed=number)
        lines.append(f"cars/{number}.png,{vehicle},{split},{number % 3},masks/{number}.png")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def found(report) -> dict[str, list[str]]:
    return {finding.name: list(finding.items) for finding in report.findings}


def test_sizes_are_counted_by_side(root):
    report = check(CSV(root, "cars"))
    assert {side.name: side.found for side in report.sides} == {
        "train": Counts(3, 2, 2),
        "query": Counts(2, 2, 1),
        "gallery": Counts(1, 1, 1),
    }


def test_an_image_with_the_split_test_counts_on_both_sides():
    table = make_table(
        "r", "set", {"path": ["a", "b", "c"], "split": ["test", "query", "test"], "vehicle_id": [4, 4, -1]}
    )
    sides = {side.name: side.found for side in count_sides(table)}
    assert sides == {"query": Counts(3, 1, 0), "gallery": Counts(2, 1, 0)}


def test_a_vehicle_that_is_trained_on_and_searched_for_is_a_problem(root):
    report = check(CSV(root, "cars"))
    assert found(report) == {"vehicles_in_training_and_test": ["cars 1"]}
    assert not report.ok
    text = (root / "table.csv").read_text().replace(",1,query", ",4,query").replace(",3,gallery", ",2,gallery")
    (root / "table.csv").write_text(text)
    assert found(check(CSV(root, "cars"))) == {}


def test_missing_empty_and_unlisted_files_are_found_by_listing(root, write_image):
    (root / "cars" / "0.png").unlink()
    (root / "masks" / "3.png").unlink()
    (root / "cars" / "5.png").write_bytes(b"")
    write_image(root / "cars" / "deep" / "more.png")
    (root / "cars" / "notes.txt").touch()
    write_image(root / "elsewhere" / "other.png")
    with pytest.raises(DataError, match="1 of 6 listed files"):
        CSV(root, "cars").read()
    report = check(CSV(root, "cars"))
    assert found(report) == {
        "vehicles_in_training_and_test": ["cars 1"],
        "missing_files": [f"{root}/cars/0.png", f"{root}/masks/3.png"],
        "empty_files": [f"{root}/cars/5.png"],
        "unlisted_images": [f"{root}/cars/deep/more.png"],
    }
    assert [finding.problem for finding in report.findings] == [True, True, True, False]
    assert report.findings[1].sentence.startswith("2 of 12 listed files are missing: unpack")
    assert json.loads(json.dumps(report.as_dict()))["findings"][1]["items"] == list(report.findings[1].items)


def test_files_below_the_root_itself(tmp_path, write_image):
    for name in ("0.png", "1.png", "2.png"):
        write_image(tmp_path / name)
    (tmp_path / "table.csv").write_text("path,vehicle_id,split\n0.png,1,test\n1.png,2,test\n")
    assert found(check(CSV(tmp_path, "cars"))) == {"unlisted_images": [f"{tmp_path}/2.png"]}


def test_odd_paths_are_looked_for_one_by_one(tmp_path, write_image):
    root = tmp_path / "root"
    for path in (root / "a" / "0.png", tmp_path / "1.png", tmp_path / "beside.png"):
        write_image(path)
    (root / "table.csv").write_text("path,vehicle_id,split\na//0.png,1,test\n../1.png,2,test\n../2.png,2,test\n")
    assert found(check(CSV(root, "cars"))) == {"missing_files": [f"{root}/../2.png"]}


@pytest.mark.parametrize("workers", [0, 2])
def test_decoding_finds_damaged_images_and_masks(root, workers):
    for path in (root / "cars" / "2.png", root / "masks" / "4.png"):
        path.write_bytes(path.read_bytes()[:60])
    assert set(found(check(CSV(root, "cars")))) == {"vehicles_in_training_and_test"}
    report = check(CSV(root, "cars"), decode=True, workers=workers)
    image, mask = found(report)["unreadable_images"]
    assert f"{root}/cars/2.png is cut off" in image
    assert f"{root}/masks/4.png is cut off" in mask


def test_copies_across_training_and_test_are_a_problem_within_one_a_warning(root):
    shutil.copy(root / "cars" / "2.png", root / "cars" / "3.png")
    shutil.copy(root / "cars" / "0.png", root / "cars" / "5.png")
    assert set(found(check(CSV(root, "cars")))) == {"vehicles_in_training_and_test"}
    report = check(CSV(root, "cars"), duplicates=True, workers=1)
    assert found(report)["same_image_in_training_and_test"] == [f"{root}/cars/0.png = {root}/cars/5.png"]
    assert found(report)["same_image_twice"] == [f"{root}/cars/2.png = {root}/cars/3.png"]
    assert [finding.problem for finding in report.findings] == [True, True, False]


def test_side_data_is_part_of_what_is_checked(root):
    (root / "extra.csv").write_text("path,vehicle_id\ncars/1.png,3\n")
    assert found(check(CSV(root, "cars"), extra=root / "extra.csv")) == {}


def test_the_bundled_sets_are_whole(quickstart, quickstart_veri):
    assert found(check(DayNight(quickstart, "quickstart"), decode=True, duplicates=True)) == {}
    report = check(VeRi776(quickstart_veri, "quickstart_veri"), duplicates=True)
    (finding,) = report.findings
    queries = next(side.found.images for side in report.sides if side.name == "query")
    assert (finding.name, finding.problem, len(finding.items)) == ("same_image_twice", False, queries)


def test_published_sizes_are_compared_with_the_nearest_edition(root, monkeypatch):
    monkeypatch.setitem(
        expected.EXPECTED,
        "cars",
        (
            {"train": Counts(3, 2, 20), "query": Counts(2, 2), "gallery": Counts(1, 4)},
            {"train": Counts(9, 9, 9), "query": Counts(9, 9), "gallery": Counts(9)},
        ),
    )
    report = check(CSV(root, "cars"))
    assert found(report)["unexpected_numbers"] == ["train: 2 cameras, expected 20", "gallery: 1 vehicles, expected 4"]
    assert not next(finding for finding in report.findings if finding.name == "unexpected_numbers").problem
    monkeypatch.setitem(expected.EXPECTED, "cars", ({"train": Counts(3, 2, 2)},))
    assert "unexpected_numbers" not in found(check(CSV(root, "cars")))


def test_a_side_that_is_not_there_at_all_is_reported():
    table = make_table("r", "set", {"path": ["a"], "split": "train", "vehicle_id": 1})
    sides = count_sides(table, ({"train": Counts(1), "query": Counts(5)},))
    assert [(side.name, side.found, side.expected) for side in sides] == [
        ("train", Counts(1, 1, 0), Counts(1)),
        ("query", Counts(0, 0, 0), Counts(5)),
    ]


def test_published_sizes_add_up():
    for name, total in {
        "veri776": 37_778 + 11_579,  # the queries are in the gallery too
        "dn_348": 9_962 + 10_022 + 10_121 + 3_972,
        "dn_wild": 85_945 + 54_952,
        "vehicleid_13164": 221_567,
    }.items():
        (edition,) = EXPECTED[name]
        assert edition["train"].images + edition["gallery"].images == total
    (large,) = EXPECTED["veri_wild_10000"]
    assert sum(side.images for side in large.values()) == 416_314
    assert large["train"].vehicles + large["gallery"].vehicles == 40_671


def test_tasks_that_cannot_be_measured_are_problems_and_queries_without_answer_warnings(root):
    report = check(CSV(root, "cars"), tasks=["image_to_image", "day_to_night"])
    by_name = {finding.name: finding for finding in report.findings}
    # Of vehicle 3 there is a query and a gallery image, of vehicle 1 only a query.
    assert list(by_name["queries_without_answer"].items) == ["cars/1.png"]
    assert not by_name["queries_without_answer"].problem
    assert "1 of 2 queries of task 'image_to_image'" in by_name["queries_without_answer"].sentence
    assert by_name["impossible_task"].problem
    assert "Task 'day_to_night' needs a domain" in by_name["impossible_task"].sentence
    text = (root / "table.csv").read_text().replace("cars/5.png,3,gallery,2", "cars/5.png,3,gallery,1")
    (root / "table.csv").write_text(text)  # now both are of one camera
    (impossible,) = [f for f in check(CSV(root, "cars"), tasks=["image_to_image"]).findings if f.problem][1:]
    assert (
        "the rule same_camera leaves none of the 2 queries of data set 'cars' anything to find" in impossible.sentence
    )


def test_without_images_the_lists_say_which_they_want(root):
    shutil.rmtree(root / "cars")
    report = check(CSV(root, "cars"), images=False)
    assert found(report)["wanted_images"] == [f"{root}/cars/{number}.png" for number in range(6)]
    assert "missing_files" not in found(report)
    assert "missing_files" in found(check(CSV(root, "cars")))


def test_day_and_night_are_counted_and_compared(monkeypatch):
    domains = ["day", "day", "night", "day", "night", "night", "", "day"]
    table = make_table(
        "r",
        "set",
        {
            "path": list("abcdefgh"),
            "split": ["train"] * 7 + ["test"],
            "vehicle_id": [1, 1, 1, 2, 3, 3, 3, -1],
            "domain": domains,
        },
    )
    sides = {side.name: side for side in count_sides(table, ({"train": Counts(7, day=3, night=9)},))}
    assert sides["train"].found == Counts(7, 3, 0, 3, 3)
    assert sides["train"].expected == Counts(7, day=3, night=9)
    assert sides["query"].found == Counts(1, 0, 0, 1, 0)
    assert sides["query"].balance is None  # of an unknown vehicle
    counted = sides["train"].balance
    assert (counted.day, counted.night, counted.vehicles, counted.both) == (3, 3, 3, 1)
    assert counted.night_share == pytest.approx(1 / 3)  # of 1/3, 0 and 1
    assert counted.proportion == pytest.approx(1 / 3)
    assert "3 images by day and 3 by night (50%); 1 of 3 vehicles by day and by night (33.3%)" in counted.sentence()


def test_day_and_night_of_the_papers_add_up():
    """DNDM, Section 4.1 and Table 1."""
    for name, images in (("dn_348", 34_077), ("dn_wild", 140_897)):
        (edition,) = EXPECTED[name]
        assert sum(edition[side].day + edition[side].night for side in ("train", "gallery")) == images
        for side in edition.values():
            assert side.day + side.night == side.images
