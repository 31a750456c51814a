import cv2
import numpy as np
import torch

from src.figures.attention_maps import draw_attention, stretched


def test_maps_are_stretched_to_the_image_and_to_zero_and_one():
    heat = torch.rand(2, 3, 5)
    large = stretched(heat, 12, 20)
    assert large.shape == (2, 12, 20)
    for one, small in zip(large, heat.numpy(), strict=True):
        expected = cv2.resize(small, (20, 12), interpolation=cv2.INTER_LINEAR)
        expected = (expected - expected.min()) / (expected.max() - expected.min())
        np.testing.assert_allclose(one, expected, atol=1e-5)
    np.testing.assert_array_equal(stretched(torch.full((1, 2, 2), 7.0), 4, 4), np.zeros((1, 4, 4)))


def test_a_sheet_has_a_bright_spot_where_the_features_are_strong(tmp_path):
    images = np.full((2, 32, 32, 3), 128, dtype=np.uint8)
    heat = torch.zeros(2, 4, 4)
    heat[0, 0, 0] = heat[1, 3, 3] = 1.0
    draw_attention(images, {"somewhere": heat}, tmp_path / "new/sheet.png")
    sheet = cv2.imread(str(tmp_path / "new/sheet.png"))
    # inferno ends in a light yellow: its red and green are far above its blue half way up
    warm = (sheet[..., 2].astype(int) - sheet[..., 0]) > 60
    rows, columns = np.nonzero(warm)
    middle = (sheet.shape[0] / 2, sheet.shape[1] * 3 / 4)
    assert warm[: sheet.shape[0] // 2].any()
    assert warm[sheet.shape[0] // 2 :].any()
    assert columns[rows < middle[0]].max() < middle[1] < columns[rows > middle[0]].min()
