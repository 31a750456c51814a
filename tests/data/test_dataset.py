import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from src.data.dataset import ReIDDataset, class_index, draw_seed, name_index, train_labels
from src.data.images import read_image
from src.data.samplers.batch_samplers import Draw, PlainSampler
from src.data.table import DataError, image_path, make_table
from src.data.transforms.image_transforms import Transforms


@pytest.fixture
def table(tmp_path, write_image) -> pd.DataFrame:
    for number in range(6):
        write_image(tmp_path / f"{number}.png", 20 + number, 30, seed=number)
        cv2.imwrite(str(tmp_path / f"m{number}.png"), np.eye(20 + number, 30, dtype=np.uint8) * 255)
    return make_table(
        tmp_path,
        "tiny",
        {
            "path": [f"{number}.png" for number in range(6)],
            "mask": [f"m{number}.png" for number in range(6)],
            "vehicle_id": [7, 3, 7, 3, 9, -1],
            "camera_id": [1, 2, -1, 4, 5, 6],
            "track_id": [0, 0, 1, 1, 2, -1],
            "domain": ["day", "night", "", "night", "day", "night"],
            "colour": ["red", "blue", "", "red", "pink", "blue"],
            "type": ["bus", "", "van", "van", "bus", "bus"],
            "box": ["", "", "", "", "2 3 12 13", ""],
            "split": ["train", "train", "train", "train", "query", "gallery"],
        },
    )


def test_an_item_says_what_the_table_says(table):
    labels = train_labels(table)
    assert labels == [("tiny", 3), ("tiny", 7)]
    names = {"colour": ["blue", "red"], "type": ["bus", "van"], "camera": ["tiny 6", "tiny 1", "other 2"]}
    dataset = ReIDDataset(table, Transforms(size=16).evaluation(), labels, names)
    expected = {
        "row": [0, 1, 2, 3, 4, 5],
        "label": [1, 0, 1, 0, -1, -1],
        "vehicle_id": [7, 3, 7, 3, 9, -1],
        "camera_id": [1, 2, -1, 4, 5, 6],
        "track_id": [0, 0, 1, 1, 2, -1],
        "domain": [0, 1, -1, 1, 0, 1],
        "colour": [1, 0, -1, 1, -1, 0],
        "type": [0, -1, 1, 1, 0, 0],
        "camera": [1, -1, -1, -1, -1, 0],
        "view": [-1, -1, -1, -1, -1, -1],
    }
    (batch,) = DataLoader(dataset, batch_size=6)
    assert len(dataset) == 6
    for name, values in expected.items():
        assert batch.pop(name).tolist() == values
    image = batch.pop("image")
    assert image.shape == (6, 3, 16, 16)
    assert image.dtype == torch.uint8
    assert not batch
    for row in range(6):
        box = table["box"][row]
        whole = cv2.resize(read_image(image_path(table, row), box), (16, 16), interpolation=cv2.INTER_AREA)
        if not box:
            np.testing.assert_array_equal(image[row].numpy().transpose(1, 2, 0), whole)
    enlarged = cv2.resize(read_image(image_path(table, 4))[3:13, 2:12], (16, 16))
    np.testing.assert_array_equal(image[4].numpy().transpose(1, 2, 0), enlarged)


def test_numbers_are_int64_in_a_batch(table):
    (batch,) = DataLoader(ReIDDataset(table, Transforms(size=8).evaluation()), batch_size=6)
    assert {value.dtype for name, value in batch.items() if name != "image"} == {torch.int64}
    assert batch["label"].tolist() == [-1] * 6


def test_glare_and_mask_come_when_asked_for(table):
    dataset = ReIDDataset(table, Transforms(size=16, glare="paper").evaluation(), mask=True)
    for row in range(6):
        item = dataset[row]
        for name in ("glare", "mask"):
            assert item[name].shape == (1, 16, 16)
            assert item[name].dtype == torch.uint8
            assert set(item[name].unique().tolist()) <= {0, 1}
        assert item["mask"].any()
    table.loc[3, "mask"] = ""
    with pytest.raises(DataError, match=r"3\.png has no mask, which transforms\.mask=true needs"):
        ReIDDataset(table, Transforms(size=16).evaluation(), mask=True)[3]
    table.loc[3, "mask"] = "m1.png"
    with pytest.raises(DataError, match=r"m1\.png is \(21, 30\), its image \(23, 30\)"):
        ReIDDataset(table, Transforms(size=16).evaluation(), mask=True)[3]


def test_randomness_belongs_to_seed_epoch_and_number(table):
    def pixels(seed: int, draw: Draw) -> bytes:
        return ReIDDataset(table, Transforms(size=16).training(), seed=seed)[draw]["image"].numpy().tobytes()

    base = pixels(1, Draw(0, 2, 3))
    assert base == pixels(1, Draw(0, 2, 3))
    changed = {pixels(5, Draw(0, 2, 3)), pixels(1, Draw(0, 4, 3)), pixels(1, Draw(0, 2, 9)), base}
    assert len(changed) == 4


def test_any_number_of_workers_gives_the_same_batches(table):
    train = table[table["split"] == "train"]
    batches = {}
    for workers in (0, 2):
        sampler = PlainSampler(train, batch_size=2, seed=3)
        dataset = ReIDDataset(table, Transforms(size=16, glare="paper").training(), train_labels(table), seed=3)
        loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
        batches[workers] = []
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            batches[workers] += list(loader)
    assert len(batches[0]) == len(batches[2]) == 4
    for one, other in zip(batches[0], batches[2], strict=True):
        for name in one:
            assert torch.equal(one[name], other[name])


def test_draw_seeds_never_meet():
    draws = [(s, e, n) for s in (0, 1, 2**31) for e in (0, 1, 2**32 - 1) for n in (0, 1, 2**40 - 1)]
    assert len({draw_seed(*draw) for draw in draws}) == len(draws)


def test_codes_are_looked_up():
    rng = np.random.default_rng(0)
    names = ["a", "b", "c"]
    values = pd.Series(rng.choice(["a", "b", "c", "", "d"], 50))
    assert name_index(values, names).tolist() == [names.index(v) if v in names else -1 for v in values]
    ids = rng.integers(0, 5, 50)
    table = make_table("r", "one", {"path": ["x"] * 50, "split": "train", "vehicle_id": ids})
    table.loc[25:, "dataset"] = "two"
    labels = train_labels(table)
    assert labels == sorted({(d, int(i)) for d, i in zip(table["dataset"], ids, strict=True)})
    assert class_index(table, labels).tolist() == [
        labels.index((d, int(i))) for d, i in zip(table["dataset"], ids, strict=True)
    ]
    assert class_index(table, labels[1:])[0] == (
        labels[1:].index(key) if (key := ("one", ids[0])) in labels[1:] else -1
    )


def test_a_table_written_before_there_were_views_knows_none(table):
    names = {"colour": ["blue", "red"], "view": ["front"]}
    new = ReIDDataset(table, Transforms(size=16).evaluation(), train_labels(table), names)
    old = ReIDDataset(table.drop(columns="view"), Transforms(size=16).evaluation(), train_labels(table), names)
    for row in range(len(table)):
        assert {name: int(old[row][name]) for name in ("colour", "view", "label")} == {
            name: int(new[row][name]) for name in ("colour", "view", "label")
        }
        assert old[row]["view"] == -1
