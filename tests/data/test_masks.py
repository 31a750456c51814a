from src.data.masks import find_masks
from src.data.table import make_table


def test_masks_are_found_where_the_pattern_says_and_named_ones_stay(tmp_path):
    for name in ("masks/a/1.png", "masks/b.c.png", "other/a/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths = ["a/1.jpg", "b.c.JPG", "a/3.jpg", "a/4.jpg", "a/1.png"]
    table = make_table(tmp_path, "tiny", {"path": paths, "mask": ["", "", "", "m/4.png", ""], "split": "train"})
    before = table.copy()
    found = find_masks(table, "masks/{path}.png")
    assert found["mask"].tolist() == ["masks/a/1.png", "masks/b.c.png", "", "m/4.png", "masks/a/1.png"]
    assert table.equals(before)
    assert found.drop(columns="mask").equals(table.drop(columns="mask"))
    assert find_masks(table, "other/{path}.png")["mask"].tolist() == ["", "", "other/a/3.png", "m/4.png", ""]
    absolute = find_masks(table, f"{tmp_path}/other/{{path}}.png")["mask"].tolist()
    assert absolute == ["", "", f"{tmp_path}/other/a/3.png", "m/4.png", ""]
