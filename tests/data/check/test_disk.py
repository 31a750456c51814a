import numpy as np
import pytest

from src.data.check.disk import copies, list_files, unreadable


def test_every_file_of_the_folders_is_listed_with_its_size(tmp_path):
    rng = np.random.default_rng(0)
    for number, folder in enumerate(["a", "a/b", "a/b/c", "d", "e"]):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{number}.jpg").write_bytes(b"x" * int(rng.integers(0, 99)))
    (tmp_path / "top.jpg").write_bytes(b"xy")
    expected = {
        str(path.relative_to(tmp_path)): path.stat().st_size
        for folder in ("a", "d")
        for path in (tmp_path / folder).rglob("*.jpg")
    }
    assert list_files(tmp_path, ["a", "d", "nowhere", "top.jpg"]) == expected
    assert list_files(tmp_path, [""]) == {"top.jpg": 2}


def test_links_are_followed_but_not_round_and_round(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.jpg").write_bytes(b"x")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").symlink_to(tmp_path / "real")
    (tmp_path / "a" / "two").symlink_to(tmp_path / "real")
    (tmp_path / "a" / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert list_files(tmp_path, ["a"]) == {"a/one/1.jpg": 1, "a/two/1.jpg": 1}
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert set(list_files(tmp_path, ["a"])) == {
        *("a/one/1.jpg", "a/two/1.jpg"),
        *("a/again/one/1.jpg", "a/again/two/1.jpg"),
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_decoded_is_named(tmp_path, write_image, workers):
    for name in ("good.png", "cut.jpg", "mask.png", "bad mask.png"):
        write_image(tmp_path / name)
    for name in ("cut.jpg", "bad mask.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    (tmp_path / "text.jpg").write_text("no picture")
    images = [("good.png", ""), ("cut.jpg", ""), ("text.jpg", ""), ("good.png", "90 90 99 99")]
    found = unreadable(
        [(tmp_path / name, box) for name, box in images],
        [tmp_path / "mask.png", tmp_path / "bad mask.png"],
        workers,
    )
    for problem, name in zip(found, ["cut.jpg", "text.jpg", "good.png", "bad mask.png"], strict=True):
        assert f"{tmp_path / name} " in problem
    assert "cut off" in found[0]
    assert "misses the image" in found[2]


def test_copies_are_files_with_equal_content(tmp_path):
    rng = np.random.default_rng(1)
    contents = [rng.bytes(size) for size in (5000, 5000, 10, 10, 9000)]
    contents.append(rng.bytes(5000)[:900] + contents[0][900:])  # ends like the first
    contents += [contents[0], contents[2], contents[0], b""]
    files = {}
    for number, content in enumerate(contents):
        path = tmp_path / str(number)
        path.write_bytes(content)
        files[str(path)] = len(content)
    expected = [
        [str(tmp_path / str(other)) for other in range(len(contents)) if contents[other] == contents[number]]
        for number in range(len(contents))
    ]
    expected = [group for place, group in enumerate(expected) if len(group) > 1 and expected.index(group) == place]
    assert copies(files, workers=2) == copies(files, workers=0) == expected
    assert copies({}, workers=1) == []
