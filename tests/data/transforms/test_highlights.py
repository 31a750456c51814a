from fractions import Fraction

import cv2
import numpy as np
import pytest

from src.data.transforms.highlights import glare_mask, released_glare_mask


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """An image with bright spots of all sizes, single pixels among them."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[rng.random((height, width)) < 0.6] //= 2
    for _ in range(6):
        y, x = rng.integers(height), rng.integers(width)
        tall, wide = rng.integers(1, 7, 2)
        image[y : y + tall, x : x + wide] = rng.integers(215, 256, 3)
    return image


def bright(image: np.ndarray, weights: tuple[str, str, str], threshold: int = 220) -> np.ndarray:
    """Grey above the threshold, in exact fractions."""
    r, g, b = map(Fraction, weights)
    return np.array([[r * int(p[0]) + g * int(p[1]) + b * int(p[2]) > threshold for p in line] for line in image])


def regions(mask: np.ndarray, corners: bool = True) -> list[set[tuple[int, int]]]:
    """Regions by flooding, joined at sides and, if asked for, at corners."""
    left = set(zip(*np.nonzero(mask), strict=True))
    found = []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if corners or not (dy and dx)]
            around = {(y + dy, x + dx) for dy, dx in steps} & left
            left -= around
            edge += around
        found.append(region)
    return found


@pytest.mark.parametrize(("height", "width"), [(24, 40), (256, 256), (96, 150)])
def test_small_regions_are_dropped_in_proportion_to_the_image(height, width):
    image = blobs(height, height, width) if height < 200 else np.zeros((height, width, 3), dtype=np.uint8)
    if height == 256:
        image[10:13, 10:13] = 255  # 9 pixels: stays
        image[40:42, 40:44] = 255  # 8 pixels: goes
        image[80:84, 80:82] = 255  # 8 pixels and one at a corner: stays
        image[84, 82] = 255
    expected = np.zeros((height, width), dtype=np.uint8)
    for region in regions(bright(image, ("0.299", "0.587", "0.114"))):
        if Fraction(len(region) * 256 * 256, height * width) >= 9:
            for place in region:
                expected[place] = 1
    found = glare_mask(image)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected.sum() < expected.size


@pytest.mark.parametrize(
    ("grey", "weights"),
    [
        ("bt601", ("299/1000", "587/1000", "114/1000")),
        ("bt709", ("2126/10000", "7152/10000", "722/10000")),
        ("mean", ("1/3", "1/3", "1/3")),
    ],
)
@pytest.mark.parametrize(("threshold", "smallest", "connectivity"), [(200, 60, 4), (240, 0, 8), (170, 30, 8)])
def test_grey_threshold_smallest_region_and_connectivity_are_those_asked_for(
    grey, weights, threshold, smallest, connectivity
):
    height, width = 60, 90
    image = blobs(threshold, height, width)
    expected = np.zeros((height, width), dtype=np.uint8)
    for region in regions(bright(image, weights, threshold), corners=connectivity == 8):
        if Fraction(len(region) * 256 * 256, height * width) >= smallest:
            for place in region:
                expected[place] = 1
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(glare_mask(image, grey, threshold, smallest, connectivity), expected)


@pytest.mark.parametrize("seed", range(3))
def test_released_mask_is_an_opening_that_is_dark_outside(seed):
    image = blobs(seed, 30, 26)
    image[:3, :4] = 250  # the border itself can never survive
    mask = bright(image, ("0.114", "0.587", "0.299"))
    expected = np.zeros_like(mask)
    for y in range(1, mask.shape[0] - 1):
        for x in range(1, mask.shape[1] - 1):
            if mask[y - 1 : y + 2, x - 1 : x + 2].all():
                expected[y - 1 : y + 2, x - 1 : x + 2] = True
    assert expected.any()
    np.testing.assert_array_equal(released_glare_mask(image), expected)


@pytest.mark.parametrize("function", [glare_mask, released_glare_mask])
def test_a_grey_of_exactly_220_does_not_glare(function):
    for level, glares in ((220, 0), (221, 1)):
        image = np.full((20, 20, 3), level, dtype=np.uint8)
        np.testing.assert_array_equal(function(image), np.full((20, 20), glares))


@pytest.mark.parametrize(("function", "weights"), [(glare_mask, (0.299, 0.587)), (released_glare_mask, (0.114, 0.587))])
def test_red_and_blue_weigh_differently(function, weights):
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    image[..., :2] = 255  # yellow
    assert function(image).any() == (255 * sum(weights) > 220)


def test_dark_images_have_no_glare():
    image = cv2.resize(np.zeros((4, 4, 3), dtype=np.uint8), (8, 12))
    assert glare_mask(image).shape == released_glare_mask(image).shape == (12, 8)
    assert not glare_mask(image).any()
    assert not released_glare_mask(image).any()
