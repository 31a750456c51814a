import numpy as np
import pytest

from src.data.submission_file import check_submission, write_submission
from src.data.table import DataError


def ranking(queries: int, gallery: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(gallery) for _ in range(queries)])


def test_a_line_a_query_with_its_hundred_nearest_counted_from_one(tmp_path):
    places = ranking(3, 120)
    path = tmp_path / "new" / "track2.txt"
    write_submission(path, places, n_gallery=120)
    lines = [[int(field) for field in line.split(" ")] for line in path.read_text().splitlines()]
    assert lines == [[int(place) + 1 for place in row[:100]] for row in places]
    check_submission(path, n_queries=3, n_gallery=120)


def test_nothing_wrong_is_written(tmp_path):
    path = tmp_path / "track2.txt"
    with pytest.raises(DataError, match=r"takes 100 matches a query, but the ranking is \(3, 99\)"):
        write_submission(path, ranking(3, 99), n_gallery=99)
    with pytest.raises(DataError, match=r"has '\d+', expected numbers from 1 to 50 only"):
        write_submission(path, ranking(3, 120), n_gallery=50)
    with pytest.raises(DataError, match=r"Line 1 of .* has '0', expected numbers from 1 to 120"):
        write_submission(path, ranking(3, 120) - 1, n_gallery=120)
    places = ranking(3, 120)
    places[1, 7] = places[1, 3]
    with pytest.raises(DataError, match=rf"Line 2 of .* has {places[1, 3] + 1} twice"):
        write_submission(path, places, n_gallery=120)
    assert not path.exists()


GOOD = " ".join(map(str, range(1, 101)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}\n", "has 1 lines, expected one a query: 2"),
        (f"{GOOD}\n{GOOD} 101\n", "Line 2 of .* has 101 numbers, expected 100"),
        (f"{GOOD}\n\n", "Line 2 of .* has 0 numbers"),
        (f"{GOOD}\n{GOOD.replace('100', '150')}\n", "Line 2 of .* has '150', expected numbers from 1 to 120"),
        (f"{GOOD.replace(' 7 ', ' 0 ')}\n{GOOD}\n", "Line 1 of .* has '0'"),
        (f"{GOOD.replace(' 7 ', ' -7 ')}\n{GOOD}\n", "Line 1 of .* has '-7'"),
        (f"{GOOD}\n{GOOD.replace(' 7 ', ' 08 ')}\n", "Line 2 of .* has 8 twice"),
        (f"{GOOD}\n{GOOD}…\n", "is no text of numbers and spaces"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, text, message):
    path = tmp_path / "track2.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        check_submission(path, n_queries=2, n_gallery=120)


def test_a_missing_submission_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no submission at .*track2\.txt"):
        check_submission(tmp_path / "track2.txt", 1, 120)


def test_the_end_of_a_line_does_not_matter(tmp_path):
    path = tmp_path / "track2.txt"
    path.write_bytes(f"{GOOD} \r\n{GOOD}".encode())
    check_submission(path, n_queries=2, n_gallery=120)
    with pytest.raises(DataError, match="has 2 lines, expected one a query: 3"):
        check_submission(path, n_queries=3, n_gallery=120)
