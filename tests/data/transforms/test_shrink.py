import cv2
import numpy as np
import pytest

from src.data.table import DataError
from src.data.transforms.image_transforms import Transforms

ALONE = {"flip": 0.0, "pad": 0, "erasing": 0.0, "shrink": 1.0}


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_large_image_is_shrunk_by_one_factor_and_enlarged_again():
    pipeline = Transforms(size=(20, 30), shrink_scale=(0.5, 0.5), **ALONE).training()
    large = image(36, 44)
    expected = cv2.resize(cv2.resize(large, (22, 18), interpolation=cv2.INTER_AREA), (30, 20))
    np.testing.assert_array_equal(pipeline(large, seed=3).image, expected)
    mask = (image(36, 44)[..., 0] > 100).astype(np.uint8)
    moved = pipeline(large, mask, seed=3)
    np.testing.assert_array_equal(moved.image, expected)
    small = cv2.resize(mask, (22, 18), interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(moved.mask, cv2.resize(small, (30, 20), interpolation=cv2.INTER_NEAREST))


@pytest.mark.parametrize("sides", [(20, 44), (36, 30), (10, 12)])
def test_an_image_that_is_not_larger_on_both_sides_stays(sides):
    shrinking = Transforms(size=(20, 30), shrink_scale=(0.5, 0.5), **ALONE).training()
    plain = Transforms(size=(20, 30), **{**ALONE, "shrink": 0.0}).training()
    np.testing.assert_array_equal(shrinking(image(*sides)).image, plain(image(*sides)).image)


def test_half_of_the_images_are_shrunk_by_factors_all_over_the_range():
    pipeline = Transforms(size=32, **{**ALONE, "shrink": 0.5}).training()
    large = image(64, 64)
    plain = Transforms(size=32).evaluation()(large).image
    seen = [pipeline(large, seed=seed).image for seed in range(400)]
    shrunk = [one for one in seen if not np.array_equal(one, plain)]
    assert len(shrunk) / 400 == pytest.approx(0.5, abs=0.08)
    possible = {
        side: Transforms(size=32)
        .evaluation()(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA))
        .image.tobytes()
        for side in range(26, 39)
    }
    sides = [side for one in shrunk for side, other in possible.items() if one.tobytes() == other]
    assert len(sides) == len(shrunk)
    assert set(sides) | {32} == set(range(26, 39))  # 32 is the plain one
    np.testing.assert_array_equal(pipeline(large, seed=7).image, seen[7])


@pytest.mark.parametrize("scale", [(0, 0.5), (0.6, 0.4), (0.5, 1.1)])
def test_senseless_factors_are_refused(scale):
    with pytest.raises(DataError, match=r"transforms\.shrink_scale is .*, expected two ascending shares of 1"):
        Transforms(shrink_scale=scale)
