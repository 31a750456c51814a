import itertools

import numpy as np
import pytest
from torch.utils.data import DataLoader

from src.data import Contamination, DataError, ReIDDataset, Transforms, make_table

SHAPES = [(64, 64), (40, 70), (7, 33)]


def picture(seed: int, height: int, width: int, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)


def blocks(shape: tuple[int, ...], side: int) -> list[tuple[slice, slice]]:
    return [
        (slice(top, min(top + side, shape[0])), slice(left, min(left + side, shape[1])))
        for top, left in itertools.product(range(0, shape[0], side), range(0, shape[1], side))
    ]


def mosaic(image: np.ndarray, side: int) -> np.ndarray:
    """Every block as its mean, pixel by pixel."""
    whole = image.astype(np.float64)
    for place in blocks(image.shape, side):
        for channel in range(3):
            values = [float(value) for value in image[place][..., channel].ravel()]
            whole[(*place, channel)] = sum(values) / len(values)
    return np.rint(whole).astype(np.uint8)


def to_yuv(rgb: np.ndarray) -> np.ndarray:
    """BT.601: Y of Kr = 0.299 and Kb = 0.114, U and V the differences to blue and red."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402], axis=-1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1])
def test_so_many_pixels_are_damaged_to_the_pixel_in_whole_blocks_but_one(shape, share):
    image = picture(1, *shape, low=110, high=140)  # nothing saturates, so that a shifted pixel is another one
    for kind, seed in itertools.product(("colour_cast", "brightness"), range(3)):
        hit = (Contamination(kind, share, block=8)(image, seed) != image).any(axis=2)
        assert hit.sum() == round(share * image[..., 0].size)
        partly = [place for place in blocks(shape, 8) if 0 < hit[place].sum() < hit[place].size]
        assert len(partly) <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_mosaic_gives_each_damaged_block_its_mean(shape):
    image, expected = picture(2, *shape), mosaic(picture(2, *shape), 8)
    np.testing.assert_array_equal(Contamination("mosaic", 1, block=8)(image, 0), expected)
    seen = Contamination("mosaic", 0.4, block=8)(image, 3)
    damaged = (Contamination("brightness", 0.4, block=8)(np.full_like(image, 128), 3) != 128).any(axis=2)
    np.testing.assert_array_equal(seen, np.where(damaged[..., None], expected, image))


def test_brightness_shifts_luma_alone_and_colour_cast_chroma_alone():
    image = picture(3, 32, 32, low=110, high=140)
    signs, angles = set(), []
    for seed in range(40):
        luma, *chroma = np.moveaxis(to_yuv(Contamination("brightness", 1, luma=50)(image, seed)) - to_yuv(image), -1, 0)
        np.testing.assert_allclose(np.abs(luma), 50)
        np.testing.assert_allclose(chroma, 0, atol=1e-9)
        signs |= set(np.sign(luma).ravel())
        luma, *chroma = np.moveaxis(
            to_yuv(Contamination("colour_cast", 1, chroma=40)(image, seed)) - to_yuv(image), -1, 0
        )
        np.testing.assert_allclose(luma, 0, atol=0.6)  # RGB is rounded
        np.testing.assert_allclose(np.hypot(*chroma), 40, atol=0.8)
        angles.append(np.arctan2(chroma[1][0, 0], chroma[0][0, 0]))
        assert np.ptp(chroma, axis=(1, 2)).max() < 1e-9  # the same all over the image
    assert signs == {-1, 1}
    assert np.histogram(angles, bins=4, range=(-np.pi, np.pi))[0].min() > 0


def test_values_stay_within_a_byte():
    dark, bright = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    for seed in range(10):
        for image in (dark, bright):
            seen = Contamination("brightness", 1, luma=100)(image, seed)
            assert seen.dtype == np.uint8
            assert set(np.unique(seen)) <= {0, 100, 155, 255}


def test_mixed_images_have_every_kind_in_blocks_of_their_own():
    image = picture(4, 96, 96)
    kinds = [Contamination(kind, 1, block=8)(image, 5) for kind in ("mosaic", "colour_cast", "brightness")]
    seen = Contamination("mixed", 1, block=8)(image, 5)
    found = [
        [number for number, alone in enumerate(kinds) if np.array_equal(seen[place], alone[place])]
        for place in blocks(image.shape, 8)
    ]
    assert {len(matches) for matches in found} == {1}
    assert np.bincount([matches[0] for matches in found]).min() > 0.2 * len(found)


def test_a_larger_share_damages_the_same_pixels_and_more():
    image = picture(5, 40, 60, low=110, high=140)
    before = np.zeros((40, 60), dtype=bool)
    for share in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5):
        hit = (Contamination("colour_cast", share)(image, 7) != image).any(axis=2)
        assert hit[before].all()
        before = hit


def test_what_is_damaged_depends_on_the_seeds_alone():
    image = picture(6, 64, 64)
    damage = Contamination("mixed", 0.3, seed=1)
    first = [damage(image, seed) for seed in range(5)]
    untouched = image.copy()
    for seed in reversed(range(5)):
        np.testing.assert_array_equal(Contamination("mixed", 0.3, seed=1)(image, seed), first[seed])
    assert len({seen.tobytes() for seen in first}) == 5
    assert not np.array_equal(Contamination("mixed", 0.3, seed=2)(image, 0), first[0])
    np.testing.assert_array_equal(image, untouched)


def test_only_evaluated_images_are_damaged_after_resizing_and_before_the_glare_mask():
    damage = Contamination("brightness", 0.5)
    options = {"size": 32, "flip": 0.0, "pad": 0, "erasing": 0.0, "glare": "paper"}
    plain, damaged = Transforms(**options), Transforms(**options, contamination=damage)
    image = picture(7, 50, 70, low=130, high=200)
    seed = next(seed for seed in range(9) if (damage(plain.evaluation()(image).image, seed) > 220).any())
    np.testing.assert_array_equal(damaged.training()(image, seed=seed).image, plain.training()(image, seed=seed).image)
    seen = damaged.evaluation()(image, night=True, seed=seed)
    np.testing.assert_array_equal(seen.image, damage(plain.evaluation()(image).image, seed))
    assert seen.glare.any()
    assert not plain.evaluation()(image, night=True, seed=seed).glare.any()


def test_batches_and_workers_change_nothing(tmp_path, write_image):
    paths = [f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        write_image(tmp_path / path, seed=number)
    table = make_table(str(tmp_path), "tiny", {"path": paths, "split": "test", "vehicle_id": range(6)})
    transforms = Transforms(size=24, contamination=Contamination("mixed", 0.4, block=4))
    dataset = ReIDDataset(table, transforms.evaluation())
    rows = [5, 0, 3, 1]
    alone = {row: dataset[row]["image"] for row in rows}
    for batch_size, workers in ((1, 0), (3, 0), (2, 2)):
        seen = [
            image
            for batch in DataLoader(dataset, batch_size, sampler=rows, num_workers=workers)
            for image in batch["image"]
        ]
        for row, image in zip(rows, seen, strict=True):
            assert image.equal(alone[row])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "rain", "share": 0.1}, r"contamination\.kind is 'rain', expected one of mosaic, colour_cast"),
        ({"kind": None, "share": 0.1}, r"contamination\.kind is None"),
        ({"kind": "mosaic", "share": None}, r"contamination\.share is None"),
        ({"kind": "mosaic", "share": 20}, r"contamination\.share is 20, expected a share of the pixels from 0 to 1"),
        ({"kind": "mosaic", "share": 0.1, "block": 1}, r"contamination\.block is 1, expected at least 2"),
        ({"kind": "mosaic", "share": 0.1, "seed": -1}, r"contamination\.seed is -1"),
    ],
)
def test_values_that_make_no_sense_are_refused(options, sentence):
    with pytest.raises(DataError, match=sentence):
        Contamination(**options)
