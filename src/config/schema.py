"""Keys of a configuration, and what each means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: What each source of a pool may say beyond the keys of its own file.
SOURCE_KEYS = ("role", "first_ids", "use")


@dataclass(frozen=True)
class Stage:
    """One entry of the ordered mapping `stages`: everything that may differ from one stage to the next.

    Attributes:
        data: The data set, a node of the group `data`.
        epochs: How long.
        optim: A node of the group `optim`.
        sampler: The batch sampler, a partial.
        transforms: The image transforms.
        load: Where the weights come from: `"previous"`, the stage before (the first one has the backbone's own), null
            for the backbone's own, or the path of a checkpoint.
        replace: Parts of names of what is not loaded and starts anew: `["classifier"]`, whose identities change.
        allow_partial: Take over the weights that fit, and say which do not, instead of refusing all.
        freeze: Names of modules that stay as they are, the statistics of their normalisations too.
        mine: A node of the group `mining`, to train on images of the stage's test set too, with pseudo-identities; its
            `checkpoint` is the model that mines, null for the weights that the stage loads or else those of the stage
            before. Null to mine nothing.
    """

    data: Any
    epochs: int
    optim: Any
    sampler: Any
    transforms: Any
    load: str | None = "previous"
    replace: Sequence[str] = ("classifier",)
    allow_partial: bool = False
    freeze: Sequence[str] = ()
    mine: Any = None


@dataclass(frozen=True)
class TrainConfig:
    """The top-level keys of `conf/train.yaml`; see there for what each means."""

    name: Any
    seed: int
    epochs: int
    validate_every: int
    test_checkpoint: Any
    compare_untrained: bool
    workers: int | None
    eval_batch_size: int
    repeat_batches: bool
    method: Any
    backbone: Any
    data: Any
    optim: Any
    sampler: Any
    transforms: Any
    stages: Any
    trainer: Any
    retrieval: Any
    logger: Any
    callbacks: Any
    paths: Any
    start: Any
    resume: Any
