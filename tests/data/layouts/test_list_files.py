import pytest

from src.data.layouts.list_files import (
    files_in,
    find_files,
    read_lines,
    require_folder,
    without_checking_files,
)
from src.data.table import DataError


def test_read_lines_takes_any_line_end_and_keeps_empty_lines(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes("\ufeffa b \r\n\r\nc\n".encode())
    assert read_lines(file, "set") == ["a b", "", "c"]


def test_chinese_lists_are_read_whatever_their_encoding(tmp_path):
    for encoding in ("utf-8", "gb2312", "gbk", "gb18030"):
        (tmp_path / "list.txt").write_bytes("大众 朗逸\r\n白色".encode(encoding))
        assert read_lines(tmp_path / "list.txt", "set") == ["大众 朗逸", "白色"]


def test_a_list_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(DataError, match=r"'set': the list .*none\.txt is missing"):
        read_lines(tmp_path / "none.txt", "set")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.txt is no UTF-8 text"):
        read_lines(tmp_path / "binary.txt", "set")


def test_missing_files_are_counted_and_the_first_three_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").touch()
    assert find_files(tmp_path, ["a/0.jpg"], "set") == ["a/0.jpg"]
    listed = ["a/0.jpg", "a/1.jpg", "b/0.jpg", "a/0.jpg/x.jpg", "c.jpg"]
    with pytest.raises(DataError, match=r"4 of 5 listed files .*\(a/1\.jpg, b/0\.jpg, a/0\.jpg/x\.jpg, …\)"):
        find_files(tmp_path, listed, "set")


def test_an_extension_may_be_in_capitals(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/0.JPG", "a/1.jpg", "a/X.Jpeg", "2.jpg"):
        (tmp_path / name).touch()
    listed = ["a/0.jpg", "a/1.JPG", "a/X.JPEG", "2.JPG"]
    assert find_files(tmp_path, listed, "set") == ["a/0.JPG", "a/1.jpg", "a/X.Jpeg", "2.jpg"]
    with pytest.raises(DataError, match=r"1 of 1 .*\(a/x\.jpeg\)"):  # only the extension may differ
        find_files(tmp_path, ["a/x.jpeg"], "set")
    with pytest.raises(DataError, match=r"1 of 1 .*\(a/0\.jpg\)"):
        find_files(tmp_path, ["a/0.jpg"], "set", any_case=False)


def test_who_looks_for_the_files_itself_can_read_lists_without(tmp_path):
    with without_checking_files():
        assert find_files(tmp_path, ["a.jpg"], "set") == ["a.jpg"]
    with pytest.raises(DataError, match=r"1 of 1 listed files .*\(a\.jpg\)"):
        find_files(tmp_path, ["a.jpg"], "set")


def test_a_missing_folder_is_empty_or_refused(tmp_path):
    assert files_in(tmp_path / "none") == frozenset()
    with pytest.raises(DataError, match=r"none is no folder, expected pictures; .*data\.root="):
        require_folder(tmp_path / "none", "set", "pictures")
