"""Keys of the configurations of commands; `conf/<command>.yaml` says what each means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from src.runtime.ranges import Natural, Positive, Share

#: What computes embeddings, see `src.embed.network.Network`.
EngineChoice = Literal["auto", "torch", "openvino", "onnxruntime"]

#: What each source of a pool may say beyond the keys of its own file.
SOURCE_KEYS = ("role", "first_ids", "use")

Texts = str | Sequence[str]


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
    epochs: Positive
    optim: Any
    sampler: Any
    transforms: Any
    load: str | None = "previous"
    replace: Sequence[str] = ("classifier",)
    allow_partial: bool = False
    freeze: Sequence[str] = ()
    mine: Any = None


@dataclass(frozen=True)
class Run:
    """Keys of every command that leaves a run folder."""

    name: str
    paths: Any


@dataclass(frozen=True)
class _Embedding(Run):
    """Keys of every command that embeds images with a checkpoint."""

    seed: Natural
    workers: Natural | None
    eval_batch_size: Positive


@dataclass(frozen=True)
class TrainConfig(_Embedding):
    """The top-level keys of `conf/train.yaml`."""

    epochs: Positive
    validate_every: Positive
    calibration_images: Natural
    test_checkpoint: Literal["last", "best"]
    compare_untrained: bool
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
    start: str | None
    resume: str | None
    logger: Any = None
    callbacks: Any = None
    epochs_at_most: Positive | None = None


@dataclass(frozen=True)
class ConvertConfig(TrainConfig):
    """The top-level keys of `conf/convert.yaml`."""

    weights: str = ""
    out: str = ""


@dataclass(frozen=True)
class EvaluateConfig(_Embedding):
    """The top-level keys of `conf/evaluate.yaml`."""

    checkpoint: str | None
    checkpoints: Sequence[str]
    embeddings: Texts | None
    trainer: Any
    retrieval: Any
    method: Any
    contamination: Any
    attention: Natural
    explain: Natural
    engine: EngineChoice
    untrained: bool = False
    pooling: Literal["gap", "gem", "class_token"] = "gap"
    data: Any = None
    backbone: Any = None
    transforms: Any = None
    logger: Any = None


@dataclass(frozen=True)
class ContaminationConfig(EvaluateConfig):
    """The top-level keys of `conf/contamination.yaml`."""

    kinds: Sequence[str] = ()
    test_lists: Sequence[int] = ()
    shares: Sequence[float] = ()
    out: str = ""


@dataclass(frozen=True)
class MineConfig(_Embedding):
    """The top-level keys of `conf/mine.yaml`."""

    checkpoint: str | None
    embeddings: str | None
    mine: Any
    trainer: Any
    retrieval: Any
    out: str
    data: Any = None


@dataclass(frozen=True)
class LabelConfig(_Embedding):
    """The top-level keys of `conf/label.yaml`."""

    checkpoint: Texts
    images: str | None
    splits: Sequence[str]
    confidence: float
    out: str
    data: Any = None


@dataclass(frozen=True)
class SubmitConfig(Run):
    """The top-level keys of `conf/submit.yaml`."""

    embeddings: Texts
    retrieval: Any
    out: str


@dataclass(frozen=True)
class CheckDataConfig(Run):
    """The top-level keys of `conf/check_data.yaml`."""

    decode: bool
    duplicates: bool
    workers: Natural | None
    report: str
    figure: str | None
    data: Any = None


@dataclass(frozen=True)
class ReportConfig(Run):
    """The top-level keys of `conf/report.yaml`."""

    run: str | None
    vehicles: Natural
    attention: Natural
    runs: Texts
    table: str | None
    checkpoints: Texts
    test_on: Texts
    cells: str
    device: str


@dataclass(frozen=True)
class ExportConfig:
    """The top-level keys of `conf/export.yaml`."""

    paths: Any
    checkpoint: str
    out: str
    format: Texts
    tolerance: float
    precision: Texts
    calibrate: str | None
    calibration_images: Positive
    batches: Sequence[Positive]
    repeats: Positive
    card: bool
    name: str | None
    licence: str | None
    data: Any = None


@dataclass(frozen=True)
class MakeMasksConfig(Run):
    """The top-level keys of `conf/make_masks.yaml`."""

    model: str
    weights: str | None
    classes: Sequence[str]
    splits: Sequence[str]
    size: Positive
    mask_files: str
    out: str
    data: Any = None


@dataclass(frozen=True)
class MakeBoxesConfig(Run):
    """The top-level keys of `conf/make_boxes.yaml`."""

    detector: str
    weights: str | None
    names: Any
    classes: Sequence[str]
    score: Share
    border: Share
    min_share: Share
    choose: Literal["largest", "central", "score"]
    splits: Sequence[str]
    out: str
    batch_size: Positive
    device: str
    data: Any = None


@dataclass(frozen=True)
class DashboardConfig(Run):
    """The top-level keys of `conf/wandb_dashboard.yaml`."""

    entity: str
    project: str
    tasks: Sequence[str]
    dry_run: bool
