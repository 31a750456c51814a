"""A data set as Lightning wants it."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from src.data.dataset import Item, ReIDDataset, train_labels, training_names
from src.data.holdout import hold_out, put_aside
from src.data.layouts import HasCameraDistances, Layout, Pool
from src.data.layouts.extra import add_extra
from src.data.loader_processes import loader_options
from src.data.masks import find_masks, require_masks
from src.data.protocols import AveragePrecision, Task, build_tasks
from src.data.samplers.batch_samplers import BatchSampler
from src.data.table import CALIBRATION, SPLITS, DataError, fingerprint, known
from src.data.transforms.image_transforms import Transforms
from src.runtime.progress import working
from src.runtime.ranges import Between, Natural, Positive

MakeSampler = Callable[..., BatchSampler]


class ReIDDataModule(LightningDataModule):
    """One data set: its table, its retrieval tasks, its loaders.

    Args:
        layout: The parser of the data set.
        tasks: Names of retrieval tasks.
        transforms: How images are transformed.
        sampler: Makes the batch sampler from `table` (training rows), `seed`, `rank` and `world_size`; None if there is
            nothing to train.
        ap: Kind of average precision of the tasks.
        trials: Drawings of the tasks that draw.
        trial_seed: Decides what they draw; not the run's seed, so that runs compare.
        workers: Loader processes of each training process; None takes one a core, at most eight.
        eval_batch_size: Images in a batch of validation and test.
        seed: Seed of the run.
        needs: Columns of the table without which the method cannot train.
        repeat_batches: Train on the batches of the first epoch again and again.
        extra: Side data, see `src.data.layouts.extra`.
        holdout: Share of the training identities that take the place of the test set; 0 for the test set itself.
        holdout_seed: Decides which; not the run's seed, so that runs compare.
        holdout_dataset: Of several data sets, the one whose identities those are; None for all.
        calibration: Share of the other training identities, of the same data set, that are put aside to fit
            probabilities to: neither trained on nor tested.
        class_column: Column whose values are the classes.
        mined: Parser of more training images, which never make a test set.
        names: Of some of `ATTRIBUTES` the index → name, as a trained method knows them; None, or one that is not there,
            for those of the training images.

    Attributes:
        name: Name of the data set.
        table: The record table.
        labels: Class index → (data set, vehicle id), of the training images, sorted.
        names: Of each of `ATTRIBUTES` the index → name.
        tasks: The retrieval tasks.
        eval_rows: Every row that is a query or in a gallery of a task, ascending; without tasks (hidden vehicles) every
            query and gallery row.
        fingerprint: Of the table; 16 hexadecimal digits.
        camera_distances: Road distances, index and columns the cameras' numbers; None if the data set has none.

    All of them but the name exist after `setup`.
    """

    table: pd.DataFrame
    labels: list[tuple[str, int]]
    names: dict[str, list[str]]
    tasks: list[Task]
    eval_rows: NDArray[np.int64]
    fingerprint: str
    camera_distances: pd.DataFrame | None

    def __init__(
        self,
        layout: Layout,
        tasks: Sequence[str],
        transforms: Transforms,
        sampler: MakeSampler | None = None,
        ap: AveragePrecision = "standard",
        trials: Positive = 10,
        trial_seed: Natural = 0,
        workers: int | None = None,
        eval_batch_size: int = 64,
        seed: int = 0,
        needs: Collection[str] = (),
        repeat_batches: bool = False,
        extra: Path | str | None = None,
        holdout: Annotated[float, Between(0, 1)] = 0,
        holdout_seed: Natural = 0,
        holdout_dataset: str | None = None,
        calibration: Annotated[float, Between(0, 1)] = 0,
        class_column: str = "vehicle_id",
        mined: Layout | None = None,
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.name: str = layout.name
        self.transforms = transforms
        self.seed = seed
        self._task_names = tuple(tasks)
        self._make_sampler = sampler
        self._ap: AveragePrecision = ap
        self._trials, self._trial_seed = trials, trial_seed
        self._workers = workers
        self._eval_batch_size = eval_batch_size
        self._needs = needs
        self._repeat_batches = repeat_batches
        self._extra = extra
        self.holdout = holdout
        self._holdout_seed = holdout_seed
        self._holdout_dataset = holdout_dataset
        self._calibration = calibration
        self.class_column = class_column
        self._mined = mined
        self._names = names

    @property
    def num_classes(self) -> int:
        """Number of identities in the training images."""
        return len(self.labels)

    @property
    def evaluation(self) -> dict[str, Any]:
        """Arguments of `build_tasks`, which makes the tasks from the table."""
        return {
            "names": list(self._task_names),
            "ap": self._ap,
            "trials": self._trials,
            "seed": self._trial_seed,
        }

    def setup(self, stage: str | None = None) -> None:
        """Reads the data set, once.

        Args:
            stage: Lightning's word for what comes; the table serves all of it.

        Raises:
            DataError: If the data set is not as its parser expects, lacks what the method or a task needs.
        """
        if hasattr(self, "table"):
            return
        with working(f"Reading {self.name}"):
            table = self.layout.read()
        if self._extra is not None:
            table = add_extra(table, self._extra, self.name)
        if self.holdout:
            table = hold_out(table, self.holdout, self._holdout_seed, self._holdout_dataset)
        if self._calibration:
            table = put_aside(table, self._calibration, dataset=self._holdout_dataset)
        if self._mined is not None:  # last, so that all other rows keep their numbers
            table = pd.concat([table, self._mined.read()], ignore_index=True)
        train = table[table["split"] == "train"]
        self._check_needs(train)
        self.labels = train_labels(table, self.class_column)
        self.names = training_names(table) | {name: [*values] for name, values in (self._names or {}).items()}
        self.tasks = build_tasks(table, **self.evaluation)
        sides = [side for task in self.tasks for trial in task.trials for side in (trial.query, trial.gallery)]
        test_rows = np.flatnonzero(~table["split"].isin(["train", CALIBRATION]).to_numpy())
        self.eval_rows = np.unique(np.concatenate(sides)) if sides else test_rows
        self.fingerprint = fingerprint(table)
        self.camera_distances = self.layout.camera_distances() if isinstance(self.layout, HasCameraDistances) else None
        self.table = table

    def _check_needs(self, train: pd.DataFrame) -> None:
        for need in sorted(self._needs):
            if not known(train, need).any():
                raise DataError(
                    f"The method needs {need!r} of the training images, and data set {self.name!r} has none; bring it "
                    "with data.extra=<CSV file>, or choose another data set or another method."
                )

    def summary(self) -> str:
        """Sentence on what was read."""
        counts = self.table["split"].value_counts()
        parts = [f"{counts[split]:,} {split}" for split in SPLITS if split in counts]
        tasks = [
            f"{task.name} ({len(task.trials[0].query):,} queries in {len(task.trials[0].gallery):,} images)"
            for task in self.tasks
        ]
        classes = "identities" if self.class_column == "vehicle_id" else "cameras"
        sources = f" ({self.layout.counts(self.table)})" if isinstance(self.layout, Pool) else ""
        return (
            f"{self.name}: {' + '.join(parts)} images, {self.num_classes:,} training {classes}{sources}; "
            f"tasks: {', '.join(tasks) or 'none'}."
        )

    def train_dataloader(self) -> DataLoader[Item]:
        """Batches as the sampler draws them.

        Raises:
            DataError: If there is no sampler, nothing to train on, too little to fill a batch, or no mask where the
                transforms need some.
        """
        sampler = self._sampler()
        table = self._with_masks(self.transforms.mask or self.transforms.background > 0)
        if self.transforms.background:
            require_masks(table, self.transforms.mask_files, self.name)
        sampler.repeat = self._repeat_batches
        if self.trainer is not None:
            # Loader processes draw batches before Lightning says which epoch it is.
            loop = self.trainer.fit_loop
            progress: Any = loop.epoch_progress.current
            sampler.set_epoch(progress.processed)
            if loop.restarting:
                sampler.trained = (sampler.epoch, loop.epoch_loop.batch_progress.current.ready)
        dataset = ReIDDataset(
            table,
            self.transforms.training(),
            self.labels,
            self.names,
            mask=self.transforms.mask,
            seed=self.seed,
            class_column=self.class_column,
        )
        return DataLoader(dataset, batch_sampler=sampler, persistent_workers=self._num_workers > 0, **self._loading())

    @property
    def train_batch_size(self) -> int:
        """Images of a training batch of one process."""
        return self._sampler().batch_size

    def _sampler(self) -> BatchSampler:
        train = self.table[self.table["split"] == "train"]
        if self._make_sampler is None or train.empty:
            lacking = "no sampler was given" if self._make_sampler is None else f"{self.name!r} has no training images"
            raise DataError(
                f"There is nothing to train on: {lacking}; choose data with a training split, and a sampler."
            )
        rank, world_size = self._processes()
        return self._make_sampler(table=train, seed=self.seed, rank=rank, world_size=world_size)

    def val_dataloader(self) -> list[DataLoader[Item]]:
        """Every row of the tasks once, over all processes together; no loader if there are no tasks."""
        return [self._eval_loader(self.eval_rows)] if self.tasks else []

    def test_dataloader(self) -> list[DataLoader[Item]]:
        """The same as for validation; without tasks every query and gallery image, to be embedded."""
        return [self._eval_loader(self.eval_rows)] if len(self.eval_rows) else []

    def only(self, rows: NDArray[np.int64]) -> Self:
        """The same data set, tested on nothing but these rows, and without tasks."""
        part = copy(self)
        part.eval_rows, part.tasks = rows, []
        return part

    def eval_dataset(self) -> ReIDDataset:
        """Every record of the table, as validation and test see it."""
        return ReIDDataset(
            self._with_masks(self.transforms.mask),
            self.transforms.evaluation(),
            self.labels,
            self.names,
            mask=self.transforms.mask,
        )

    def _with_masks(self, wanted: bool) -> pd.DataFrame:
        """The table, with the masks beside the images if they are wanted: what the table is stays what it was."""
        return find_masks(self.table, self.transforms.mask_files) if wanted else self.table

    def _eval_loader(self, rows: NDArray[np.int64]) -> DataLoader[Item]:
        rank, world_size = self._processes()
        return DataLoader(
            self.eval_dataset(), self._eval_batch_size, sampler=rows[rank::world_size].tolist(), **self._loading()
        )

    def _processes(self) -> tuple[int, int]:
        """Number of this process, number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    @property
    def _num_workers(self) -> int:
        if self._workers is not None:
            return self._workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(8, cores // (1 if self.trainer is None else self.trainer.num_devices))

    def _loading(self) -> dict[str, Any]:
        return {
            **loader_options(self._num_workers),
            "pin_memory": torch.cuda.is_available(),
            "generator": torch.Generator(),  # else a loader draws from the one that dropout draws from
        }
