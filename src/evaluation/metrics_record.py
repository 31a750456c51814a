"""The record of a measurement: the numbers of each task, their protocol, and what they were measured with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import nan
from statistics import fmean
from typing import Any, NamedTuple

from src.data.protocols import Protocol
from src.retrieval import DataVersion, EmbeddingsMeta, VerificationSummary
from src.retrieval.probabilities.calibration import CalibrationErrors, Fit
from src.retrieval.probabilities.probability_errors import Refusal
from src.runtime.json_files import as_plain, record_of

SCHEMA = 1
#: What `meta.json` of embeddings says and no measurement needs: files, and the curves of a calibration.
_OF_FOLDER = ("parts", "gone", "calibration")


@dataclass(frozen=True)
class Scores:
    """Means over the queries of a task, or how much they spread; NaN where there is nothing to average.

    Attributes:
        mAP: Mean average precision.
        mINP: Mean inverse negative penalty.
        rank: Share of the queries with a match among the first k, by k.
    """

    mAP: float
    mINP: float
    rank: dict[int, float]

    def of(self, measure: str) -> float:
        """A number by the name that tables give it: `"mAP"`, `"mINP"`, `"R1"`."""
        value: float = self.rank[int(measure[1:])] if measure.startswith("R") else getattr(self, measure)
        return value


@dataclass(frozen=True)
class Trials:
    """Number of trials that the scores are means over, and their standard deviation over these."""

    n: int = 1
    std: Scores | None = None


@dataclass(frozen=True)
class TaskRecord(Scores):
    """Record of one task.

    Attributes:
        queries: Their number in the first trial.
        gallery: Number of entries, likewise.
        protocol: The rules.
        skipped: Queries without a match in the gallery, of the trial with most.
        ties: Matches at the distance of another vehicle, likewise.
        filtered: Matches that a filter took out, likewise.
        filter_counts: Whether those are missed (`"miss"`) or left the denominator (`"drop"`).
        trials: What the scores are means over.
    """

    queries: int
    gallery: int
    protocol: Protocol
    skipped: int = 0
    ties: int = 0
    filtered: int = 0
    filter_counts: str = "miss"
    trials: Trials = Trials()

    def as_dict(self) -> dict[str, Any]:
        """Its entry in `metrics.json`."""
        entry: dict[str, Any] = as_plain(self) | {"protocol": self.protocol.as_dict()}
        return entry


Tasks = dict[str, TaskRecord]


@dataclass(frozen=True)
class Group:
    """Some queries of a task, such as those of one camera, that have something in the gallery to find.

    Attributes:
        mAP: Their mean average precision.
        R1: Share of them with a match in the first place; NaN in files from before it was written.
        queries: Their number, over all trials; None likewise.
    """

    mAP: float
    R1: float = nan
    queries: int | None = None


Breakdowns = dict[str, dict[str, dict[str, Group]]]


@dataclass(frozen=True)
class TaskProbabilities:
    """Probabilities of one task, those of its first trial.

    Attributes:
        nearest: Errors for each query's ten nearest images, with `prior` as prior.
        pairs: For all pairs of queries and gallery, weighted to even odds.
        prior: Share of those pairs that are right.
        fnmr: False non-match rate by false match rate, `"0.001"`, over those pairs.
        refusal: "Not in the gallery", with half of the query vehicles taken out of it.
    """

    nearest: CalibrationErrors
    pairs: CalibrationErrors
    prior: float
    fnmr: dict[str, float]
    refusal: Refusal


@dataclass(frozen=True)
class Probabilities:
    """Probabilities of a run.

    Attributes:
        fit: Origin of the calibration.
        tasks: What was measured with it, of each task that ranks images.
    """

    fit: Fit
    tasks: dict[str, TaskProbabilities]


@dataclass(frozen=True)
class IndexRecord:
    """Recall of an index.

    Attributes:
        recall_at: Length of the lists that were compared.
        recall: By task.
        kind: Of the index.
        options: It was built with.
    """

    recall_at: int
    recall: dict[str, float]
    kind: str
    options: dict[str, Any]


class Phase(NamedTuple):
    """Measurement of some features, `"untrained"`, `"trained"` or `"post-processed"`, and the steps behind it."""

    features: str
    tasks: Tasks
    steps: tuple[str, ...]


@dataclass(frozen=True)
class MetricsRecord:
    """Record of a measurement, the content of `metrics.json`.

    Attributes:
        tasks: By name, in their order.
        models: What made the embeddings of each model.
        seed: Of the run.
        config: Of the command, in plain values.
        git: Revision of the code; None if unknown.
        versions: Of the libraries; None for one that was not there.
        steps: Of the training; None for an evaluation.
        untrained: What the pretrained features measured before training, if asked for.
        postprocessing: Names of the steps that were taken.
        before_postprocessing: What the tasks measured without them.
        verification: Of each task, if asked for.
        index: Of an index that is not exact.
        probabilities: Of one model with a calibration.
        breakdowns: Groups of queries by task, column of the table and its value.
    """

    tasks: Tasks
    models: tuple[EmbeddingsMeta, ...]
    seed: int
    config: dict[str, Any]
    git: str | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    steps: int | None = None
    untrained: Tasks = field(default_factory=dict)
    postprocessing: tuple[str, ...] = ()
    before_postprocessing: Tasks = field(default_factory=dict)
    verification: dict[str, VerificationSummary] = field(default_factory=dict)
    index: IndexRecord | None = None
    probabilities: Probabilities | None = None
    breakdowns: Breakdowns = field(default_factory=dict)

    @property
    def mean_ap(self) -> float:
        """Mean average precision, averaged over the tasks."""
        return fmean(task.mAP for task in self.tasks.values())

    @property
    def data(self) -> DataVersion:
        """The data set, the same for all models."""
        return self.models[0].data

    @property
    def checkpoint(self) -> str:
        """Origin of the weights, of all models."""
        return " + ".join(model.checkpoint for model in self.models)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Measurements before training, before post-processing, and at last; without tasks where there was none."""
        last = "post-processed" if self.postprocessing else "trained"
        return (
            Phase("untrained", self.untrained, ()),
            Phase("trained", self.before_postprocessing, ()),
            Phase(last, self.tasks, self.postprocessing),
        )

    def as_dict(self) -> dict[str, Any]:
        """The content of `metrics.json`; what does not apply to the run is left out."""
        return {
            "schema": SCHEMA,
            "tasks": _entries(self.tasks),
            "git": self.git,
            "versions": self.versions,
            "seed": self.seed,
            **self._made_with(),
            **dict(self._optional()),
            "breakdowns": as_plain(self.breakdowns),
            "config": self.config,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MetricsRecord":
        """The record from the content of `metrics.json`.

        Raises:
            ValueError: If something is missing that every run writes.
        """
        breakdowns = _groups(values.get("breakdowns", {}))
        return record_of(cls, {**values, "models": values.get("models", [values]), "breakdowns": breakdowns})

    def _made_with(self) -> dict[str, Any]:
        """One model's entries stand beside the others, those of several in a list."""
        entries = [
            {key: value for key, value in as_plain(model).items() if key not in _OF_FOLDER} for model in self.models
        ]
        if len(entries) == 1:
            return entries[0]
        return {"checkpoint": self.checkpoint, "data": as_plain(self.data), "models": entries}

    def _optional(self) -> Iterator[tuple[str, Any]]:
        if self.steps is not None:
            yield "steps", self.steps
            yield "untrained", _entries(self.untrained)
        if self.postprocessing:
            yield "postprocessing", list(self.postprocessing)
            yield "before_postprocessing", _entries(self.before_postprocessing)
        if self.verification:
            yield "verification", {name: as_plain(summary) for name, summary in self.verification.items()}
        if self.index is not None:
            yield "index", as_plain(self.index)
        if self.probabilities is not None:
            yield "probabilities", as_plain(self.probabilities)


def _groups(breakdowns: Any) -> Any:
    """Groups as they are written now; once they were their mean AP alone."""
    if isinstance(breakdowns, dict) and "mAP" not in breakdowns:
        return {key: _groups(value) for key, value in breakdowns.items()}
    return breakdowns if isinstance(breakdowns, dict) else {"mAP": breakdowns}


def _entries(tasks: Tasks) -> dict[str, Any]:
    return {name: task.as_dict() for name, task in tasks.items()}
