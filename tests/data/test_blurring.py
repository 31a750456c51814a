"""Blurred parts of pictures."""

import numpy as np
import pytest

from src.data.blurring import blurred


def test_a_part_is_averaged_and_the_rest_stays():
    image = np.random.default_rng().integers(0, 256, (60, 90, 3), dtype=np.uint8)
    before = image.copy()
    found = blurred(image, [(20, 30, 60, 50)])
    np.testing.assert_array_equal(image, before)
    inside = np.zeros((60, 90), dtype=bool)
    inside[28:52, 16:64] = True  # a tenth of its sides around it
    np.testing.assert_array_equal(found[~inside], image[~inside])
    part = found[28:52, 16:64].astype(float)
    assert part.std() < 0.25 * image[28:52, 16:64].std()
    assert abs(part.mean() - image[28:52, 16:64].mean()) < 5


def test_letters_leave_no_trace_finer_than_a_quarter():
    """Stripes of the height of letters: of two that differ in their order nothing is left."""
    one = np.zeros((40, 80, 3), dtype=np.uint8)
    one[:, ::4] = 255
    other = np.roll(one, 2, axis=1)
    box = [(0, 0, 80, 40)]
    assert abs(blurred(one, box).astype(int) - blurred(other, box)).max() <= 1


@pytest.mark.parametrize("box", [(-50, -50, -10, -10), (200, 0, 220, 30), (5, 5, 5, 5)])
def test_what_lies_outside_or_is_empty_changes_nothing(box):
    image = np.random.default_rng().integers(0, 256, (30, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(blurred(image, [box]), image)


def test_a_box_over_the_edge_is_cut_off():
    image = np.random.default_rng().integers(0, 256, (30, 30, 3), dtype=np.uint8)
    found = blurred(image, [(-10, 20, 15, 90)])
    assert (found[:13] == image[:13]).all()
    assert found[20:, :15].std() < image[20:, :15].std()
