"""The record beside embeddings: of which images they are, and what made them."""

from dataclasses import dataclass, field
from typing import Any

from src.retrieval.distances.spatio_temporal import TripModel
from src.retrieval.probabilities.calibration import Calibration


@dataclass(frozen=True)
class DataVersion:
    """A data set as it was when it was read.

    Attributes:
        name: Of the data set.
        fingerprint: Hash of its record table; empty if unknown.
    """

    name: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class EmbeddingsMeta:
    """Makers of embeddings, and all that is needed to evaluate them; `meta.json` of their folder.

    Attributes:
        checkpoint: Where the weights came from: folder and name, or the whole path; empty if unknown.
        checkpoint_sha: SHA-256 of that file.
        precision: Of the arithmetic, as Lightning names it.
        device: The model's.
        engine: What computed them: `"torch"`, or an engine with its version, several of them with ` + ` between; empty
            if unknown.
        data: The data set.
        evaluation: The arguments of `src.data.build_tasks`.
        holdout: Share of the training identities that were taken for the test; 0 for a test set.
        trips: Fitted to the training images; None if they do not tell.
        views: The options of `src.methods.tta.Views`.
        method: The method's options that play a part at test alone.
        contamination: The options of `src.data.transforms.contamination.Contamination`; None for whole images.
        dimensions: Of an embedding; None if unknown.
        parts: Folders below that hold the embeddings, in order; none where they lie beside this record.
        gone: File of the places in them that are deleted; empty for none.
        calibration: What their similarities say; None if unknown.
    """

    checkpoint: str = ""
    checkpoint_sha: str = ""
    precision: str = ""
    device: str = ""
    engine: str = ""
    data: DataVersion = DataVersion()
    evaluation: dict[str, Any] = field(default_factory=dict)
    holdout: float = 0
    trips: TripModel | None = None
    views: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    contamination: dict[str, Any] | None = None
    dimensions: int | None = None
    parts: tuple[str, ...] = ()
    gone: str = ""
    calibration: Calibration | None = None
