"""From disk to batches: record table, retrieval tasks, transforms, samplers, data module."""

from src.data.datamodule import ReIDDataModule
from src.data.dataset import ReIDDataset
from src.data.images import read_image
from src.data.protocols import Protocol, Task, Trial, build_tasks
from src.data.samplers.batch_samplers import (
    BatchSampler,
    ClassBalancedSampler,
    DayNightSampler,
    Draw,
    IdentitySampler,
    PlainSampler,
)
from src.data.table import DataError, fingerprint, image_path, known, make_table, training_records
from src.data.transforms.contamination import Contamination
from src.data.transforms.image_transforms import Transforms

__all__ = [
    "BatchSampler",
    "ClassBalancedSampler",
    "Contamination",
    "DataError",
    "DayNightSampler",
    "Draw",
    "IdentitySampler",
    "PlainSampler",
    "Protocol",
    "ReIDDataModule",
    "ReIDDataset",
    "Task",
    "Transforms",
    "Trial",
    "build_tasks",
    "fingerprint",
    "image_path",
    "known",
    "make_table",
    "read_image",
    "training_records",
]
