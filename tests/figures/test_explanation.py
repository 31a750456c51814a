import cv2
import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps

from src.figures.explanation import day_and_night, draw_steps
from src.methods.base import Step


def table(*records):
    return pd.DataFrame(records, columns=["vehicle_id", "domain"], index=range(10, 10 + len(records)))


def test_a_vehicle_is_shown_by_day_and_by_night():
    images = [(vehicle, domain) for vehicle in range(5) for domain in ("night", "night", "night", "day")]
    some = table(*images, (7, "day"), (8, "night"), (-1, "day"), (-1, "night"))
    glare = {row: row % 4 for row in some.index}.get
    chosen = day_and_night(some, 6, glare)
    shown = [tuple(some.loc[row]) for row in chosen]
    assert shown == [(vehicle, domain) for vehicle in (0, 2, 4) for domain in ("day", "night")]
    assert chosen[1::2] == [11, 19, 27]  # of the night the one that glares most
    assert day_and_night(some, 5, glare) == chosen[:5]
    assert len(day_and_night(some, 100, glare)) == 10


def test_without_a_vehicle_seen_by_day_and_night_images_are_spread_evenly():
    assert day_and_night(table(*[(number, "day") for number in range(9)]), 3, int) == [10, 14, 18]
    assert day_and_night(table(*[(-1, "") for _ in range(2)]), 5, int) == [10, 11]


def test_a_column_a_step_and_one_scale_of_colours_for_steps_that_share_it(tmp_path):
    images = np.full((3, 32, 48, 3), 128, dtype=np.uint8)
    low, high = torch.zeros(3, 4, 6), torch.full((3, 4, 6), 0.25)
    low[0, 0, 0] = 1.0  # so that the scale goes from 0 to 1
    alone = torch.zeros(3, 4, 6)
    alone[1] = 0.25
    steps = [
        Step("A\nwhat it does", "before", "$T$", low, "A"),
        Step("A\nwhat it does", "after", "$T$", high, "A"),
        Step("B", "alone", "$S$", alone, "B"),
        Step("B", "share", "$M$", high, ""),
    ]
    draw_steps(images, ["day\n1", "night\n1", "day\n2"], steps, tmp_path / "new/steps.png")
    sheet = cv2.imread(str(tmp_path / "new/steps.png"))[..., ::-1]
    wide, near, apart = 1.3, 0.06, 0.22
    lefts = np.cumsum([0.75, wide + apart, wide + near, wide + apart, wide + near])
    tops = np.cumsum([0.15 * 2 + 0.55, wide * 32 / 48 + near, wide * 32 / 48 + apart])  # below two lines and titles
    seen = [[sheet[int(120 * (top + 0.4)), int(120 * (left + 0.6))] for left in lefts] for top in tops]
    for row, expected in zip(
        seen, [(0.0, 0.25, 0.0, 0.25), (0.0, 0.25, 1.0, 0.25), (0.0, 0.25, 0.0, 0.25)], strict=True
    ):
        np.testing.assert_array_equal(row[0], [128, 128, 128])
        colours = [np.array(colormaps["inferno"](value)[:3]) * 255 for value in expected]
        np.testing.assert_allclose(row[1:], colours, atol=2)
