import random

import numpy as np
import pytest

from src.data.transforms.erasing import RandomErasing


def erase(step: RandomErasing, image: np.ndarray, seed: int) -> np.ndarray:
    step.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return step(image=image)["image"]


@pytest.mark.parametrize("shape", [(64, 64), (40, 90)])
def test_one_rectangle_within_the_range_is_painted(shape):
    image = np.zeros((*shape, 3), dtype=np.uint8)
    step = RandomErasing((0.02, 0.4), 0.3, (124, 116, 104), p=1)
    shares, aspects = [], []
    for seed in range(600):
        erased = erase(step, image, seed)
        rows, columns = np.flatnonzero(erased.any(axis=(1, 2))), np.flatnonzero(erased.any(axis=(0, 2)))
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        expected = np.zeros_like(image)
        expected[rows[0] : rows[0] + tall, columns[0] : columns[0] + wide] = (124, 116, 104)
        np.testing.assert_array_equal(erased, expected)
        shares.append(tall * wide / image[..., 0].size)
        aspects.append(tall / wide)
    assert not image.any()
    # Sides are rounded to pixels, hence the slack.
    assert 0.01 < min(shares) < 0.05
    assert 0.36 < max(shares) < 0.42
    assert 0.25 < min(aspects) < 0.5
    assert (2 if shape == (64, 64) else 1) < max(aspects) < 3.7


def test_the_distribution_is_that_of_the_paper():
    """Algorithm 1 of Zhong et al., drawn independently."""
    rng = random.Random(1)
    expected = []
    while len(expected) < 3000:
        area, aspect = rng.uniform(0.02, 0.4) * 50 * 50, rng.uniform(0.3, 1 / 0.3)
        tall, wide = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if tall < 50 and wide < 50:
            expected.append((tall, wide))
    step = RandomErasing((0.02, 0.4), 0.3, (1, 1, 1), p=1)
    found = []
    for seed in range(3000):
        erased = erase(step, np.zeros((50, 50, 3), dtype=np.uint8), seed)[..., 0]
        found.append((erased.any(axis=1).sum(), erased.any(axis=0).sum()))
    np.testing.assert_allclose(np.mean(found, axis=0), np.mean(expected, axis=0), rtol=0.04)
    np.testing.assert_allclose(np.std(found, axis=0), np.std(expected, axis=0), rtol=0.06)


def test_probability():
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    step = RandomErasing((0.1, 0.2), 0.5, (9, 9, 9), p=0.3)
    share = np.mean([erase(step, image, seed).any() for seed in range(1000)])
    assert 0.25 < share < 0.35


def test_an_image_that_no_rectangle_fits_stays():
    image = np.zeros((1, 50, 3), dtype=np.uint8)
    assert not erase(RandomErasing((0.02, 0.4), 0.3, (9, 9, 9), p=1), image, 0).any()
