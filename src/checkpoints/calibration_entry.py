"""The calibration in a checkpoint: its one writer and its one reader."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.checkpoints.checkpoint_file import WholeCheckpoints, load_checkpoint
from src.retrieval.probabilities.calibration import Calibration
from src.runtime.errors import ConfigError
from src.runtime.json_files import as_plain, record_of

_ENTRY = "calibration"


def add_calibration(path: Path, calibration: Calibration) -> None:
    """Writes a calibration into a checkpoint that is there, which stays whole whatever happens meanwhile.

    Raises:
        ConfigError: See `load_checkpoint`.
    """
    checkpoint = load_checkpoint(path)
    checkpoint["reid"][_ENTRY] = as_plain(calibration)
    WholeCheckpoints().save_checkpoint(checkpoint, path)


def calibration_of(provenance: Mapping[str, Any]) -> Calibration | None:
    """The calibration among the entries `reid` of a checkpoint; None for one without, as all were once.

    Raises:
        ConfigError: If it is damaged.
    """
    said = provenance.get(_ENTRY)
    try:
        return None if said is None else record_of(Calibration, said)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"The checkpoint's entry {_ENTRY!r} is damaged ({error}); train again.") from error


def require_calibration(calibration: Calibration | None, where: Path | str) -> Calibration:
    """The calibration, where something was asked for that needs one.

    Args:
        calibration: What was found.
        where: The checkpoint, for the message.

    Raises:
        ConfigError: If there is none.
    """
    if calibration is None:
        raise ConfigError(
            f"{where} has no calibration, so there are no probabilities, only scores (threshold=): a training leaves "
            "one in its test_checkpoint if calibration_images is above 0 and there are vehicles enough."
        )
    return calibration
