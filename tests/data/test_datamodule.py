import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from src.data.datamodule import ReIDDataModule
from src.data.layouts import CSV, DayNight, Pool
from src.data.samplers.batch_samplers import DayNightSampler, IdentitySampler, PlainSampler
from src.data.table import DataError, fingerprint
from src.data.transforms.image_transforms import Transforms


@pytest.fixture
def layout(tmp_path, write_image) -> CSV:
    """Vehicles 5 and 3 to train on (2 images by day and by night each), 9 as query and gallery, one distractor."""
    lines = ["path,vehicle_id,split,domain,colour"]
    for number, (vehicle, split) in enumerate([*[(5, "train"), (3, "train")] * 4, *[(9, "test")] * 4, (-1, "gallery")]):
        write_image(tmp_path / f"{number}.png", seed=number)
        colour = {5: "red", 3: "blue", 9: "green"}.get(vehicle, "")
        lines.append(f"{number}.png,{vehicle},{split},{'day' if number % 4 < 2 else 'night'},{colour}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return CSV(tmp_path, "tiny")


def build(layout, **options) -> ReIDDataModule:
    defaults = {
        "tasks": ["day_to_night"],
        "transforms": Transforms(size=8),
        "sampler": partial(DayNightSampler, ids=2, day=1, night=1),
        "workers": 0,
        "eval_batch_size": 3,
    }
    return ReIDDataModule(layout, **(defaults | options))


def test_names_are_those_of_the_training_images_or_what_a_method_knows(tmp_path, write_image):
    lines = ["path,vehicle_id,split,camera_id,view"]
    for number, (split, camera, view) in enumerate(
        [("train", 10, "front"), ("train", 9, ""), ("train", "", "back"), ("test", 2, "front"), ("test", 9, "side")]
    ):
        write_image(tmp_path / f"{number}.png", seed=number)
        lines.append(f"{number}.png,{number},{split},{camera},{view}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    data = build(CSV(tmp_path, "tiny"), tasks=[])
    data.setup()
    assert data.names == {"colour": [], "type": [], "view": ["back", "front"], "camera": ["tiny 9", "tiny 10"]}
    items = [data.eval_dataset()[row] for row in range(5)]
    assert [(item["camera"], item["view"]) for item in items] == [(1, 1), (0, -1), (-1, 0), (-1, 1), (0, -1)]
    told = build(CSV(tmp_path, "tiny"), tasks=[], names={"camera": ["tiny 2", "other 9"], "view": ["side", "front"]})
    told.setup()
    items = [told.eval_dataset()[row] for row in range(5)]
    assert [(item["camera"], item["view"]) for item in items] == [(-1, 1), (-1, -1), (-1, -1), (0, 1), (-1, 0)]


def test_setup_reads_everything_once(layout):
    data = build(layout, tasks=["day_to_night", "night_to_night"], ap="trapezoid")
    data.setup("fit")
    table = data.table
    (layout.root / "table.csv").unlink()
    data.setup("test")
    assert data.table is table
    assert data.name == "tiny"
    assert data.labels == [("tiny", 3), ("tiny", 5)]
    assert data.num_classes == 2
    assert data.names["colour"] == ["blue", "red"]
    assert data.names["type"] == []
    assert [task.name for task in data.tasks] == ["day_to_night", "night_to_night"]
    assert {task.protocol.ap for task in data.tasks} == {"trapezoid"}
    assert data.eval_rows.tolist() == [8, 9, 10, 11]
    assert data.fingerprint == fingerprint(table)
    assert data.summary() == (
        "tiny: 8 train + 1 gallery + 4 test images, 2 training identities; "
        "tasks: day_to_night (2 queries in 2 images), night_to_night (2 queries in 2 images)."
    )


def test_training_batches_follow_the_sampler(layout):
    data = build(layout, seed=4)
    data.setup()
    loader = data.train_dataloader()
    expected = DayNightSampler(data.table[data.table["split"] == "train"], ids=2, day=1, night=1, seed=4)
    batches = list(loader)
    assert len(batches) == len(loader) == len(expected) == 2
    for batch, draws in zip(batches, expected, strict=True):
        assert batch["row"].tolist() == [draw.row for draw in draws]
        assert batch["image"].shape == (4, 3, 8, 8)
        assert sorted(batch["label"].tolist()) == [0, 0, 1, 1]
        assert sorted(batch["domain"].tolist()) == [0, 0, 1, 1]
        assert sorted(batch["colour"].tolist()) == [0, 0, 1, 1]


def process(rank, world_size, epoch=0, trained=None):
    """As much of a trainer as the data module looks at; `trained` batches of the epoch are done."""
    loop = SimpleNamespace(
        restarting=trained is not None,
        epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=epoch)),
        epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=trained))),
    )
    return SimpleNamespace(global_rank=rank, world_size=world_size, num_devices=world_size, fit_loop=loop)


@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_sees_every_row_once_over_all_processes(layout, world_size):
    data = build(layout, tasks=["image_to_image"])
    data.setup()
    assert data.eval_rows.tolist() == [8, 9, 10, 11, 12]
    seen = []
    for rank in range(world_size):
        data.trainer = process(rank, world_size)
        (val,), (test,) = data.val_dataloader(), data.test_dataloader()
        rows = torch.cat([batch["row"] for batch in val]).tolist()
        assert rows == torch.cat([batch["row"] for batch in test]).tolist()
        seen += rows
    assert sorted(seen) == data.eval_rows.tolist()


def test_processes_train_on_different_batches(layout):
    data = build(layout)
    data.setup()
    rows = []
    for rank in range(2):
        data.trainer = process(rank, 2)
        (batch,) = data.train_dataloader()
        rows += batch["row"].tolist()
    assert len(set(rows)) == 8


def test_training_goes_on_where_it_was_stopped(layout):
    data = build(layout)
    data.setup()
    data.trainer = process(0, 1, epoch=3, trained=1)
    sampler = data.train_dataloader().batch_sampler
    assert (sampler.epoch, sampler.trained) == (3, (3, 1))
    data.trainer = process(0, 1, epoch=3)
    sampler = data.train_dataloader().batch_sampler
    assert (sampler.epoch, sampler.trained) == (3, (0, 0))


def test_evaluation_alone_and_training_alone(layout):
    data = build(layout, sampler=None)
    data.setup("test")
    assert len(data.test_dataloader()) == 1
    with pytest.raises(DataError, match="nothing to train on: no sampler was given"):
        data.train_dataloader()
    data = build(layout, tasks=[])
    data.setup("fit")
    assert data.val_dataloader() == []
    assert data.eval_rows.tolist() == [8, 9, 10, 11, 12]  # to be embedded, not measured
    assert data.summary().endswith("tasks: none.")
    text = (layout.root / "table.csv").read_text().replace("train", "gallery")
    (layout.root / "table.csv").write_text(text)
    data = build(layout)
    data.setup()
    assert data.num_classes == 0
    with pytest.raises(DataError, match="'tiny' has no training images"):
        data.train_dataloader()


def test_what_the_method_needs_must_be_there(layout):
    data = build(layout, needs=frozenset({"domain", "colour"}))
    data.setup()
    with pytest.raises(
        DataError,
        match=r"needs 'camera_id' of the training images, and data set 'tiny' has none; bring it with data\.extra",
    ):
        build(layout, needs=frozenset({"domain", "camera_id"})).setup()
    with pytest.raises(DataError, match="needs 'track_id' of the training images"):
        build(layout, needs=frozenset({"track_id"})).setup()


def test_side_data_count_as_the_data_sets_own(layout, tmp_path):
    plain = build(layout)
    plain.setup()
    (tmp_path / "extra.csv").write_text("path,camera_id\n" + "".join(f"{number}.png,{number}\n" for number in range(8)))
    data = build(layout, extra=tmp_path / "extra.csv", needs=frozenset({"camera_id"}))
    data.setup()
    assert data.table["camera_id"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, -1, -1, -1, -1, -1]
    assert data.fingerprint != plain.fingerprint
    assert data.labels == plain.labels


def test_a_pool_says_what_each_source_gives(layout):
    sources = {"real": {"layout": layout}, "drawn": {"layout": layout, "role": "synthetic", "first_ids": 1}}
    data = build(Pool("both", sources, target="real"))
    data.setup()
    assert data.labels == [("drawn", 3), ("real", 3), ("real", 5)]
    assert data.summary() == (
        "both: 12 train + 1 gallery + 4 test images, 3 training identities (real: 8 real images of 2 vehicles; "
        "drawn: 4 synthetic images of 1 vehicles); tasks: day_to_night (2 queries in 2 images)."
    )
    (batch, *_) = data.train_dataloader()
    assert set(batch["label"].tolist()) <= {0, 1, 2}


def test_images_of_hidden_vehicles_can_be_embedded(layout):
    text = (layout.root / "table.csv").read_text().replace(",9,test", ",-1,query")
    (layout.root / "table.csv").write_text(text)
    data = build(layout, tasks=[])
    data.setup()
    assert data.val_dataloader() == []
    (loader,) = data.test_dataloader()
    assert [row for batch in loader for row in batch["row"].tolist()] == [8, 9, 10, 11, 12]
    with pytest.raises(DataError, match="unknown vehicle"):
        build(layout, tasks=["image_to_image"]).setup()
    (layout.root / "table.csv").write_text("\n".join(text.splitlines()[:9]))
    data = build(layout, tasks=[])
    data.setup()
    assert data.test_dataloader() == []


def test_masks_and_glare_come_with_the_transforms(layout, tmp_path):
    data = build(layout, transforms=Transforms(size=8, glare="released"))
    data.setup()
    assert "glare" in next(iter(data.train_dataloader()))
    assert "mask" not in next(iter(data.train_dataloader()))
    data = build(layout, transforms=Transforms(size=8, mask=True))
    data.setup()
    with pytest.raises(DataError, match=r"has no mask, which transforms\.mask=true needs"):
        next(iter(data.train_dataloader()))


def test_workers_default_to_the_cores_of_a_process(layout, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    data = build(layout, workers=None)
    data.setup()
    assert data.train_dataloader().num_workers == 8
    data.trainer = process(0, 2)
    assert data.train_dataloader().num_workers == 6


class Recorder(LightningModule):
    """Trains nothing and writes down the rows it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[int]] = []
        self.validated: list[int] = []

    def training_step(self, batch):
        self.trained.append(batch["row"].tolist())
        return self.weight * 0

    def validation_step(self, batch):
        self.validated += batch["row"].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_draws_every_epoch_anew(layout, tmp_path, workers):
    data = build(layout, sampler=partial(PlainSampler, batch_size=4), workers=workers)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", devices=1, default_root_dir=tmp_path, enable_checkpointing=False, **quiet
    )
    method = Recorder()
    trainer.fit(method, data)
    sampler = PlainSampler(data.table[data.table["split"] == "train"], batch_size=4)
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected += [[draw.row for draw in batch] for batch in sampler]
    assert method.trained == expected
    assert method.validated[-4:] == data.eval_rows.tolist()


def test_the_rendered_day_and_night_set_trains_and_tests():
    root = Path(__file__).parents[2] / "data" / "quickstart"
    data = build(DayNight(root, "quickstart"), sampler=partial(IdentitySampler, ids=4, images=4))
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert len(set(batch["vehicle_id"].tolist())) == 4
    assert not set(batch["row"].tolist()) & set(data.eval_rows.tolist())
    train = data.table["split"] == "train"
    assert not set(data.table.loc[train, "vehicle_id"]) & set(data.table.loc[~train, "vehicle_id"])
    assert np.array_equal(data.eval_rows, np.flatnonzero(~train))


LEFT = """
import sys
from src.data.datamodule import ReIDDataModule
from src.data.layouts import CSV
from src.data.transforms.image_transforms import Transforms

data = ReIDDataModule(CSV(sys.argv[1], "tiny"), [], Transforms(size=8), workers=1, eval_batch_size=1)
data.setup("test")
batches = iter(data.test_dataloader()[0])
next(batches)
raise SystemExit(7)
"""


def test_loaders_that_an_error_leaves_do_not_keep_the_process(layout):
    root = Path(__file__).parents[2]
    left = subprocess.run([sys.executable, "-c", LEFT, layout.root], check=False, cwd=root, timeout=300)
    assert left.returncode == 7
