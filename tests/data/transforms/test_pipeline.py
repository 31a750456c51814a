import pickle

import cv2
import numpy as np
import pytest

from src.data.table import DataError
from src.data.transforms.highlights import glare_mask, released_glare_mask
from src.data.transforms.image_transforms import Transforms

NO_CHANCE = {"flip": 0.0, "pad": 0, "erasing": 0.0}


def night_image(seed: int, height: int = 60, width: int = 48) -> np.ndarray:
    """A dark image with a bright bar off its centre."""
    image = np.random.default_rng(seed).integers(0, 90, (height, width, 3), dtype=np.uint8)
    image[5:20, 4:12] = 255
    return image


@pytest.mark.parametrize(("size", "shape"), [(32, (32, 32)), ((24, 40), (24, 40)), ([70, 20], (70, 20))])
def test_both_pipelines_give_the_size(size, shape):
    for pipeline in (Transforms(size=size).training(), Transforms(size=size).evaluation()):
        seen = pipeline(night_image(0), mask=np.ones((60, 48), dtype=np.uint8), seed=1)
        assert seen.image.shape == (*shape, 3)
        assert seen.mask.shape == shape
        assert seen.image.dtype == seen.mask.dtype == np.uint8
        assert seen.glare is None


def test_shrinking_averages_over_the_area():
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    image[::2, ::2] = 200
    np.testing.assert_array_equal(Transforms(size=20).evaluation()(image).image, np.full((20, 20, 3), 50))
    larger = Transforms(size=80).evaluation()(night_image(0, 40, 40)).image
    np.testing.assert_array_equal(larger, cv2.resize(night_image(0, 40, 40), (80, 80)))


def test_masks_stay_zero_and_one():
    mask = (np.random.default_rng(0).random((50, 70)) > 0.5).astype(np.uint8)
    for size in (20, 90):
        assert set(np.unique(Transforms(size=size).evaluation()(night_image(1, 50, 70), mask).mask)) == {0, 1}


def test_flip_pad_and_crop_move_image_and_mask_alike():
    transforms = Transforms(size=32, pad=6, erasing=0.0)
    image = night_image(2, 32, 32)
    mask = (image[..., 0] == 255).astype(np.uint8)
    padded = [np.pad(turned, ((6, 6), (6, 6), (0, 0))) for turned in (image, image[:, ::-1])]
    pipeline = transforms.training()
    places = set()
    for seed in range(200):
        seen = pipeline(image, mask, seed=seed)
        np.testing.assert_array_equal(seen.mask, seen.image[..., 0] == 255)
        matches = [
            (flipped, y, x)
            for flipped in (False, True)
            for y in range(13)
            for x in range(13)
            if np.array_equal(padded[flipped][y : y + 32, x : x + 32], seen.image)
        ]
        assert len(matches) == 1
        places |= set(matches)
    assert {place[0] for place in places} == {False, True}
    assert {place[1] for place in places} == {place[2] for place in places} == set(range(13))


def test_a_result_is_a_function_of_image_and_seed():
    transforms = Transforms(size=32, colour_jitter=0.5, glare="paper")
    image = night_image(3)
    one, other = transforms.training(), pickle.loads(pickle.dumps(transforms.training()))
    forward = {seed: one(image, night=True, seed=seed) for seed in range(30)}
    for seed in reversed(range(30)):
        again = other(image, night=True, seed=seed)
        np.testing.assert_array_equal(again.image, forward[seed].image)
        np.testing.assert_array_equal(again.glare, forward[seed].glare)
    assert len({seen.image.tobytes() for seen in forward.values()}) == 30
    assert not np.array_equal(one(image, seed=2**100).image, one(image, seed=2**100 + 1).image)


def test_steps_happen_independently_of_each_other():
    """Albumentations' own seeding would flip exactly the images that it erases."""
    pipeline = Transforms(size=32, pad=0, erasing_fill=(1, 255, 3)).training()
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[:, :3, 0] = 200
    counts = np.zeros((2, 2))
    for seed in range(2000):
        seen = pipeline(image, seed=seed).image
        flipped = (seen[:, -3:, 0] == 200).any()
        counts[int(flipped), int((seen[..., 1] == 255).any())] += 1
    np.testing.assert_allclose(counts / 2000, np.full((2, 2), 0.25), atol=0.035)


def test_evaluation_ignores_the_seed():
    pipeline = Transforms(size=32).evaluation()
    np.testing.assert_array_equal(pipeline(night_image(4), seed=1).image, pipeline(night_image(4), seed=2).image)


def test_jitter_changes_colours_but_no_glare_and_no_mask():
    image, mask = night_image(5, 32, 32), np.ones((32, 32), dtype=np.uint8)
    plain = Transforms(size=32, **NO_CHANCE, glare="paper").training()(image, mask, night=True, seed=1)
    jittered = Transforms(size=32, **NO_CHANCE, glare="paper", colour_jitter=1.0).training()
    changed = jittered(image, mask, night=True, seed=1)
    assert not np.array_equal(plain.image, changed.image)
    np.testing.assert_array_equal(plain.glare, changed.glare)
    np.testing.assert_array_equal(plain.mask, changed.mask)


def smooth_image(size: int = 48) -> np.ndarray:
    """A picture whose every pixel says where it is, with fine stripes in the third channel."""
    down, right = np.mgrid[0:size, 0:size]
    return np.stack([40 + 4 * down, 40 + 4 * right, 200 * (right % 2)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "option", [{"zoom": 1.0}, {"perspective": 1.0}, {"zoom": 1.0, "perspective": 1.0, "zoom_scale": (0.5, 1.5)}]
)
def test_what_moves_pixels_moves_the_mask_with_them(option):
    image = smooth_image()
    mask = (image[..., 0] + image[..., 1].astype(int) > 250).astype(np.uint8)  # below one diagonal
    pipeline = Transforms(size=48, **NO_CHANCE, **option).training()
    for seed in range(20):
        seen = pipeline(image, mask, seed=seed)
        shown = seen.image[..., :2].astype(int)
        inside = (shown > 30).all(axis=-1)  # not the black around what became smaller
        assert (seen.mask[inside] == (shown.sum(axis=-1)[inside] > 250)).mean() > 0.9
        assert not seen.mask[(shown == 0).all(axis=-1)].any()
        assert not np.array_equal(seen.image, image)


def test_zoom_scales_both_sides_by_a_factor_of_its_range_around_the_middle():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[22:42, 22:42] = 255
    pipeline = Transforms(size=64, **NO_CHANCE, zoom=1.0, zoom_scale=(0.5, 1.5)).training()
    sides = []
    for seed in range(60):
        rows, columns = np.nonzero(pipeline(image, seed=seed).image[..., 0] > 127)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert abs(height - width) <= 1
        assert abs(rows.mean() - 31.5) <= 1
        sides.append(height)
    assert 9 <= min(sides) < 13
    assert 27 < max(sides) <= 31


def test_blur_is_shrinking_and_enlarging():
    image = smooth_image()
    pipeline = Transforms(size=48, **NO_CHANCE, blur=1.0, blur_scale=(0.5, 0.5)).training()
    smaller = cv2.resize(image, (24, 24), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(pipeline(image).image, cv2.resize(smaller, (48, 48), interpolation=cv2.INTER_LINEAR))


def test_jpeg_is_what_a_file_of_that_quality_holds():
    image = night_image(9, 48, 48)
    pipeline = Transforms(size=48, **NO_CHANCE, jpeg=1.0, jpeg_quality=(40, 40)).training()
    _, file = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    np.testing.assert_array_equal(pipeline(image).image, cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])


def test_colours_change_by_no_more_than_their_range():
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    pipeline = Transforms(size=8, **NO_CHANCE, colour_jitter=1.0, colour_range=(0.4, 0, 0, 0)).training()
    brightness = np.array([pipeline(image, seed=seed).image[0, 0, 0] for seed in range(100)])
    assert 59 <= brightness.min() < 70
    assert 130 < brightness.max() <= 141
    unchanged = Transforms(size=8, **NO_CHANCE, colour_jitter=1.0, colour_range=(0, 0, 0, 0)).training()
    np.testing.assert_allclose(unchanged(night_image(1, 8, 8), seed=3).image, night_image(1, 8, 8), atol=2)


def test_only_training_changes_what_another_camera_would():
    everything = {"zoom": 1.0, "perspective": 1.0, "colour_jitter": 1.0, "blur": 1.0, "jpeg": 1.0}
    image = night_image(2)
    plain = Transforms(size=32).evaluation()(image).image
    np.testing.assert_array_equal(Transforms(size=32, **everything).evaluation()(image, seed=5).image, plain)


def test_papers_glare_lines_up_with_the_moved_image_and_ignores_erasing():
    image = night_image(6)
    clean = Transforms(size=48, erasing=0.0).training()
    erased = Transforms(size=48, erasing=1.0, glare="paper").training()
    for seed in range(20):
        seen = erased(image, night=True, seed=seed)
        moved = clean(image, seed=seed).image
        np.testing.assert_array_equal(seen.glare, glare_mask(moved))
        assert not np.array_equal(seen.image, moved)


def test_glare_masks_are_those_that_are_asked_for():
    options = {"grey": "mean", "threshold": 150.0, "smallest": 40.0, "connectivity": 4}
    transforms = Transforms(size=48, glare="paper", **{f"glare_{name}": value for name, value in options.items()})
    image = np.random.default_rng(3).integers(120, 256, (48, 48, 3), dtype=np.uint8)
    seen = transforms.evaluation()(image, night=True)
    expected = glare_mask(seen.image, **options)
    np.testing.assert_array_equal(seen.glare, expected)
    assert (expected != glare_mask(seen.image)).any()
    assert transforms.training()(image, night=True, seed=1).glare.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"glare_grey": "hsv"}, "transforms.glare_grey is 'hsv', expected bt601, bt709, mean"),
        ({"glare_threshold": 255}, "transforms.glare_threshold is 255, expected a grey from 0 to below 255"),
        ({"glare_smallest": -1}, "transforms.glare_smallest is -1, expected a number of pixels"),
        ({"glare_connectivity": 6}, "transforms.glare_connectivity is 6, expected 4 or 8"),
        ({"glare": None, "glare_threshold": 200}, "glare_threshold is for the paper's glare masks, .*glare is null"),
        ({"glare": "released", "glare_smallest": 4}, "glare_smallest is for the paper's glare masks, .* is released"),
    ],
)
def test_glare_masks_that_make_no_sense_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        Transforms(**{"glare": "paper"} | options)


def test_released_glare_is_that_of_the_resized_image():
    image = night_image(7)
    expected = released_glare_mask(Transforms(size=48).evaluation()(image).image)
    assert expected.any()
    pipeline = Transforms(size=48, glare="released").training()
    for seed in range(5):
        np.testing.assert_array_equal(pipeline(image, night=True, seed=seed).glare, expected)


@pytest.mark.parametrize(("glare", "by_day"), [("paper", False), ("released", True)])
def test_nothing_glares_by_day_but_in_the_released_code(glare, by_day):
    for pipeline in (Transforms(size=48, glare=glare).training(), Transforms(size=48, glare=glare).evaluation()):
        assert pipeline(night_image(8), night=False, seed=1).glare.any() == by_day
        assert pipeline(night_image(8), night=True, seed=1).glare.any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"glare": "real"}, r"transforms\.glare is 'real', expected paper, released or null"),
        ({"size": 0}, r"transforms\.size is 0"),
        ({"size": (32, 0)}, r"transforms\.size is \(32, 0\)"),
        ({"flip": 1.5}, r"transforms\.flip is 1\.5, expected a probability"),
        ({"erasing": -0.1}, r"transforms\.erasing is -0\.1"),
        ({"blur": 2}, r"transforms\.blur is 2, expected a probability"),
        ({"zoom_scale": (1.2, 0.8)}, r"transforms\.zoom_scale is 1\.2 to 0\.8, expected two ascending factors"),
        (
            {"perspective_scale": (0.1, 0.6)},
            r"transforms\.perspective_scale is 0\.1 to 0\.6, expected two ascending shares",
        ),
        ({"blur_scale": (0, 0.5)}, r"transforms\.blur_scale is 0 to 0\.5"),
        ({"jpeg_quality": (0, 90)}, r"transforms\.jpeg_quality is 0 to 90, expected two ascending qualities from 1"),
        ({"colour_range": (0.2, 0.2, 0.2)}, r"transforms\.colour_range is \[0\.2, 0\.2, 0\.2\], expected four shares"),
        ({"colour_range": (0.2, 2, 0, 0)}, r"transforms\.colour_range is .*, expected four shares"),
    ],
)
def test_senseless_values_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        Transforms(**values)
