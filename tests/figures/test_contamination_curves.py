import cv2
import numpy as np
import pandas as pd
from matplotlib import colors

from src.figures.contamination_curves import draw_contamination, draw_examples
from src.figures.style import BLUE, GREY, ORANGE


def pixels(path, colour):
    """How many pixels of a picture have a colour."""
    wanted = np.round(np.array(colors.to_rgb(colour)) * 255).astype(int)[::-1]
    return int((np.abs(cv2.imread(str(path)).astype(int) - wanted) <= 2).all(axis=2).sum())


def curve(name, task):
    return pd.DataFrame({"name": name, "share": [0, 0.5], "task": task, "mAP": [0.9, 0.4], "rank 1": [0.8, 0.2]})


def test_a_row_a_task_and_a_curve_a_name(tmp_path):
    draw_contamination(curve("mosaic", "a_to_b"), curve("published", "a_to_b"), tmp_path / "one.png")
    both = pd.concat([curve(name, task) for task in ("a_to_b", "b_to_a") for name in ("mosaic", "mixed")])
    draw_contamination(both, curve("published", "b_to_a"), tmp_path / "new/two.png")
    one, two = (cv2.imread(str(tmp_path / name)) for name in ("one.png", "new/two.png"))
    (tmp_path / "upper.png").write_bytes(cv2.imencode(".png", two[: len(two) // 2])[1].tobytes())
    assert 5 * pixels(tmp_path / "upper.png", GREY) < pixels(
        tmp_path / "new/two.png", GREY
    )  # edges of letters are grey
    assert one.shape[1] == two.shape[1]
    assert 1.5 < two.shape[0] / one.shape[0] < 2
    assert pixels(tmp_path / "one.png", BLUE) > 0
    assert pixels(tmp_path / "one.png", GREY) > 0
    assert pixels(tmp_path / "one.png", ORANGE) == 0
    assert pixels(tmp_path / "new/two.png", ORANGE) > 0


def test_examples_stand_in_rows_of_kinds_and_columns_of_shares(tmp_path):
    shades = {"mosaic": [(200, 30, 30), (30, 200, 30)], "mixed": [(30, 30, 200), (180, 180, 20)]}
    images = {kind: [np.full((16, 16, 3), rgb, np.uint8) for rgb in row] for kind, row in shades.items()}
    draw_examples(images, [0, 0.5], tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    centres = {}
    for kind, row in shades.items():
        for column, rgb in enumerate(row):
            found = np.argwhere((np.abs(sheet.astype(int) - rgb) <= 2).all(axis=2))
            assert len(found) > 1000
            centres[kind, column] = found.mean(axis=0)
    assert centres["mosaic", 0][0] < centres["mixed", 0][0]
    assert centres["mosaic", 0][1] < centres["mosaic", 1][1]
    assert abs(centres["mosaic", 1][1] - centres["mixed", 1][1]) < 2
