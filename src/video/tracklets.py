"""Tracks, detections of successive frames that show one vehicle: the trackers of the package `trackers`."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.video.detections import Detections
from src.video.packages import require

TRACKERS = ("bytetrack", "ocsort")


class Tracker:
    """ByteTrack (Zhang et al., ECCV 2022) or OC-SORT (Cao et al., CVPR 2023), by the time between frames.

    The same detections give the same numbers, so that a run that was killed can go on by repeating them.

    Args:
        kind: One of `TRACKERS`.
        frame_rate: Frames a second that it usually gets.
        score: Least score of a detection that starts a track; ByteTrack goes on with lower ones.
        lost: Seconds after which a vehicle that is not seen is gone.
    """

    def __init__(self, kind: str, *, frame_rate: float, score: float, lost: float) -> None:
        library = require("trackers", "tracking")
        self._supervision = require("supervision", "tracking")
        options: dict[str, Any] = {
            "lost_track_buffer": max(1, round(30 * lost)),  # it counts frames of 30 a second
            "frame_rate": frame_rate,
            "minimum_consecutive_frames": 2,
            "high_conf_det_threshold": score,
        }
        if kind == "bytetrack":
            self._tracker = library.ByteTrackTracker(track_activation_threshold=score, **options)
        else:
            self._tracker = library.OCSORTTracker(**options)

    def __call__(self, found: Detections, time: float) -> NDArray[np.int64]:
        """Track of each detection of the next frame, −1 where there is none (yet).

        Args:
            found: Of the frame.
            time: Seconds, later than that of the frame before.
        """
        seen = self._supervision.Detections(
            xyxy=found.boxes.reshape(-1, 4).astype(np.float64),
            confidence=found.scores.astype(np.float64),
            data={"row": np.arange(len(found))},
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it deprecates is its own affair
            tracked = self._tracker.update(seen, timestamp=time)
        tracks = np.full(len(found), -1, dtype=np.int64)
        if len(tracked):
            tracks[tracked.data["row"]] = tracked.tracker_id
        return tracks
