"""Background substitution, pixel by pixel, and the images and masks that it draws."""

import random
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from src.data.datamodule import ReIDDataModule
from src.data.dataset import ReIDDataset
from src.data.images import read_image, read_mask
from src.data.layouts import CSV
from src.data.samplers.batch_samplers import Draw, PlainSampler
from src.data.table import DataError, image_path, make_table
from src.data.transforms.background import Substitution, without_vehicle
from src.data.transforms.image_transforms import Transforms

ALONE = {"flip": 0.0, "pad": 0, "erasing": 0.0, "background": 1.0}
SIZE = 24


def picture(seed: int, mask_at: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A random image and a mask with a rectangle."""
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    top, bottom, left, right = mask_at
    mask[top:bottom, left:right] = 1
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8), mask


def of(mask: np.ndarray, other: tuple[np.ndarray, np.ndarray]) -> Substitution:
    return Substitution(lambda: mask, lambda _: other)


def test_the_vehicle_stays_and_the_rest_is_the_other_image_without_its_vehicle():
    image, mask = picture(0, (5, 15, 4, 20))
    other, other_mask = picture(1, (8, 20, 6, 12))
    seen = Transforms(size=SIZE, **ALONE).training()(image, mask, substitution=of(mask, (other, other_mask)))
    painted = without_vehicle(other, other_mask)
    for y in range(SIZE):
        for x in range(SIZE):
            expected = image[y, x] if mask[y, x] else painted[y, x]
            np.testing.assert_array_equal(seen.image[y, x], expected)
    np.testing.assert_array_equal(seen.mask, mask)


def test_a_soft_edge_mixes_by_the_blurred_mask():
    image, mask = picture(2, (5, 15, 4, 20))
    other = picture(3, (0, 0, 0, 0))
    seen = Transforms(size=SIZE, feather=1.5, **ALONE).training()(image, substitution=of(mask, other)).image
    weights = np.exp(-(np.arange(-9, 10) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    padded = np.pad(mask.astype(np.float64), 9, mode="reflect")
    rows = np.stack([np.convolve(row, weights, mode="valid") for row in padded])
    share = np.stack([np.convolve(column, weights, mode="valid") for column in rows.T]).T[..., None]
    assert 0 < share[4, 10, 0] < 1
    np.testing.assert_allclose(seen, share * image + (1 - share) * other[0], atol=0.6)


def test_a_vehicle_is_painted_over_with_the_colours_around_it():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:, :32], image[:, 32:] = (200, 0, 0), (0, 0, 100)
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 16:48] = 1
    image[mask > 0] = (0, 255, 0)
    painted = without_vehicle(image, mask)
    outside = cv2.dilate(mask, np.ones((5, 5), dtype=np.uint8)) == 0
    np.testing.assert_array_equal(painted[outside], image[outside])
    assert painted[..., 1].max() == 0  # nothing of the vehicle
    assert painted[32, 16, 0] > painted[32, 32, 0] > painted[32, 47, 0]
    assert painted[32, 16, 2] < painted[32, 32, 2] < painted[32, 47, 2]
    plain = np.full((SIZE, SIZE, 3), 77, dtype=np.uint8)
    almost_all = picture(0, (0, SIZE, 1, SIZE))[1]
    np.testing.assert_array_equal(without_vehicle(plain, almost_all), plain)


@pytest.mark.parametrize(
    ("own", "other"), [((0, 0, 0, 0), (1, 5, 1, 5)), ((5, 15, 4, 20), (0, SIZE, 0, SIZE))], ids=["empty", "full"]
)
def test_without_a_vehicle_or_without_another_background_nothing_happens(own, other):
    image, mask = picture(0, own)
    pipeline = Transforms(size=SIZE, **ALONE).training()
    np.testing.assert_array_equal(pipeline(image, substitution=of(mask, picture(1, other))).image, image)
    np.testing.assert_array_equal(pipeline(image).image, image)  # nor without any mask


def test_a_shrunk_image_keeps_its_vehicle_in_place():
    image = np.zeros((60, 60, 3), dtype=np.uint8)
    image[10:40, 20:50] = 255
    mask = (image[..., 0] > 0).astype(np.uint8)
    pipeline = Transforms(size=SIZE, shrink=1.0, shrink_scale=(0.4, 0.4), **ALONE).training()
    grey = np.full((30, 30, 3), 90, dtype=np.uint8), np.zeros((30, 30), dtype=np.uint8)
    seen = pipeline(image, mask, substitution=of(mask, grey))
    assert (seen.image[seen.mask == 0] == 90).mean() > 0.97
    assert (seen.image[seen.mask == 1] > 200).mean() > 0.9


def test_it_happens_as_often_as_asked_and_not_at_test():
    image, mask = picture(0, (5, 15, 4, 20))
    transforms = Transforms(size=SIZE, **{**ALONE, "background": 0.3})
    pipeline, draws = transforms.training(), []

    def draw(rng: random.Random):
        draws.append(rng.random())
        return picture(1, (0, 0, 0, 0))

    changed = [
        not np.array_equal(pipeline(image, seed=s, substitution=Substitution(lambda: mask, draw)).image, image)
        for s in range(600)
    ]
    assert sum(changed) == len(draws) == len(set(draws))
    assert np.mean(changed) == pytest.approx(0.3, abs=0.06)
    assert (
        transforms.evaluation()(image, substitution=Substitution(lambda: mask, draw)).image.tobytes() == image.tobytes()
    )


@pytest.fixture
def table(tmp_path, write_image):
    """Six images with a vehicle each; the mask of the third is missing, the last two are not to train on."""
    for number in range(6):
        write_image(tmp_path / f"a/{number}.png", SIZE, SIZE, seed=number)
        (tmp_path / "masks/a").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"masks/a/{number}.png"), 255 * picture(number, (4, 14, 3 + number, 20))[1])
    masks = [f"masks/a/{number}.png" if number != 2 else "" for number in range(6)]
    columns = {"path": [f"a/{number}.png" for number in range(6)], "mask": masks, "vehicle_id": [0, 0, 1, 1, 2, 2]}
    return make_table(tmp_path, "tiny", columns | {"split": ["train"] * 4 + ["query", "gallery"]})


def test_backgrounds_are_those_of_other_training_images_with_a_mask(table):
    dataset = ReIDDataset(table, Transforms(size=SIZE, **ALONE).training())
    images = [read_image(image_path(table, row)) for row in range(6)]
    backgrounds = {row: without_vehicle(images[row], read_mask(image_path(table, row, "mask"))) for row in (0, 1, 3)}
    for row in (0, 1, 3):
        mask = read_mask(image_path(table, row, "mask"))[..., None]
        possible = {other: np.where(mask, images[row], backgrounds[other]) for other in {0, 1, 3} - {row}}
        found = set()
        for number in range(40):
            item = dataset[Draw(row, 0, number)]
            assert "mask" not in item  # the network did not ask for it
            seen = item["image"].numpy().transpose(1, 2, 0)
            (other,) = [other for other, expected in possible.items() if np.array_equal(seen, expected)]
            found.add(other)
        assert found == possible.keys()
    np.testing.assert_array_equal(dataset[Draw(2, 0, 0)]["image"].numpy().transpose(1, 2, 0), images[2])
    alone = table.assign(mask=["masks/a/0.png", *[""] * 5])
    alone_seen = ReIDDataset(alone, Transforms(size=SIZE, **ALONE).training())[Draw(0, 0, 0)]["image"]
    assert alone_seen.shape == (3, SIZE, SIZE)


def test_any_number_of_workers_and_processes_gives_the_same_pictures(table):
    train = table[table["split"] == "train"]
    transforms = Transforms(size=SIZE, shrink=0.5, background=0.5, feather=1)

    def images(workers: int, world_size: int) -> dict[tuple[int, int], torch.Tensor]:
        found = {}
        for rank in range(world_size):
            sampler = PlainSampler(train, 2, seed=5, rank=rank, world_size=world_size)
            dataset = ReIDDataset(table, transforms.training(), seed=5)
            for number, batch in enumerate(DataLoader(dataset, batch_sampler=sampler, num_workers=workers)):
                for place in range(2):
                    found[number * world_size + rank, place] = batch["image"][place]
        return found

    one, workers, processes = images(0, 1), images(2, 1), images(0, 2)
    assert one.keys() == workers.keys() == processes.keys()
    assert all(torch.equal(one[key], workers[key]) and torch.equal(one[key], processes[key]) for key in one)


def test_training_starts_only_if_there_are_masks(tmp_path, table, caplog):
    table[["path", "vehicle_id", "split"]].to_csv(tmp_path / "table.csv", index=False)

    def loader(**options):
        data = ReIDDataModule(
            CSV(tmp_path, "tiny"),
            ["image_to_image"],
            Transforms(size=SIZE, **(ALONE | options)),
            partial(PlainSampler, batch_size=2),
            workers=0,
        )
        data.setup()
        assert (data.table["mask"] == "").all()  # and with it the fingerprint
        return data.train_dataloader()

    (tmp_path / "masks/a/2.png").unlink()
    with caplog.at_level("INFO"):
        assert len(next(iter(loader()))["image"]) == 2  # found beside the images
    assert "3 of 4 training images have a mask; the others keep their background." in caplog.text
    with pytest.raises(
        DataError,
        match=r"none of the 4 training images of 'tiny' has one \(elsewhere/\{path\}\.png in .*make_masks\.py",
    ):
        loader(mask_files="elsewhere/{path}.png")
    loader(mask_files="elsewhere/{path}.png", background=0.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"background": 2}, r"transforms\.background is 2, expected a probability"),
        ({"feather": -1}, r"transforms\.feather is -1, expected a number of pixels"),
        ({"mask_files": "masks/x.png"}, r"transforms\.mask_files is 'masks/x\.png', expected \{path\} in it"),
    ],
)
def test_senseless_values_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        Transforms(**values)
