"""One video: frames, detections, tracks and crops, a segment at a time."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from src.runtime.whole_files import write_atomically
from src.video.best_crops import Candidate, Track, at_border, covered_shares, crop_quality
from src.video.day_or_night import frame_luminance
from src.video.decode import Every, Frame, Position, Video
from src.video.detections import Detections, Detector, Selection, class_numbers
from src.video.segments import Crop, Segment, drop_last, read_segments
from src.video.sources import Source
from src.video.tracklets import Tracker

SEGMENTS = "segments"
_LOW = 0.1  # ByteTrack goes on with detections of at least this score


@dataclass(frozen=True)
class CropOptions:
    """Options of cropping.

    Attributes:
        classes: Names of the detector's classes.
        score: Least score of a detection that starts a track.
        min_side: Least shorter side of a box, in pixels.
        every: Which frames.
        tracker: One of `TRACKERS`.
        lost: Seconds after which a vehicle that is not seen is gone.
        k: Crops of a track.
        segment: Seconds; what a killed run loses at most.
        batch_size: Frames that the detector gets together.
    """

    classes: tuple[str, ...]
    score: float
    min_side: float
    every: Every
    tracker: str
    lost: float
    k: int
    segment: float
    batch_size: int


class Progress(NamedTuple):
    """Progress of a video.

    Attributes:
        seconds: Of the video that are done.
        duration: Of the video; None if unknown.
        frames: That were looked at since the last report.
        crops: Of the segment that is whole now; None within one.
    """

    seconds: float
    duration: float | None
    frames: int
    crops: list[Crop] | None


def crop_video(
    source: Source, detector: Detector, options: CropOptions, out: Path, report: Callable[[Progress], None]
) -> None:
    """Crops what is not cropped yet of a video.

    A track whose detections do not reach the score on average is none: detectors see halves of vehicles for moments.

    Args:
        source: The video.
        detector: Finds the vehicles.
        options: How.
        out: The output folder; crops go to a folder of the video's name in it.
        report: Is told after each batch and each segment.

    Raises:
        VideoError: If it is no video, or has no frame.
        OSError: If a file cannot be written; the segments before it are whole.
    """
    folder, size = out / source.name / SEGMENTS, source.video.stat().st_size
    done = read_segments(folder)
    if done and done[-1].last and done[-1].video_bytes != size:  # it was still being recorded
        drop_last(folder)
        del done[-1]
    if done and done[-1].last:
        return
    with Video(source.video) as video:
        rate = video.frame_rate / options.every.frames
        if options.every.seconds:
            rate = min(rate, 1 / options.every.seconds)
        view = _View(source, detector, options, out, rate)
        view.repeat(done)
        before = done[-1] if done else None
        segment = Segment(before.number + 1 if before else 0, before.position if before else Position(), size)
        for batch in _batches(video.frames(options.every, segment.position), options.batch_size):
            for frame, found in zip(batch, view.detect(batch), strict=True):
                number = math.floor(frame.time / options.segment)
                if number > segment.number:
                    if segment.times:
                        view.close(segment)
                        segment.write(folder)
                        report(Progress(segment.position.time, video.duration, 0, segment.crops))
                    segment = Segment(number, segment.position, size)
                view.take(frame, found, segment)
            report(Progress(video.position.time, video.duration, len(batch), None))
        segment.position, segment.last, segment.problem = video.position, True, video.problem
        view.close(segment)
        segment.write(folder)
        report(Progress(video.position.time, video.duration, 0, segment.crops))


class _View:
    """View of a camera: the tracker, and the tracks that have not ended."""

    def __init__(self, source: Source, detector: Detector, options: CropOptions, out: Path, frame_rate: float) -> None:
        self._detector, self._options, self._out, self._name = detector, options, out, source.name
        self._tracker = Tracker(options.tracker, frame_rate=frame_rate, score=options.score, lost=options.lost)
        self._select = Selection(
            class_numbers(detector.names, options.classes),
            min(_LOW, options.score) if options.tracker == "bytetrack" else options.score,
            options.min_side,
            source.region,
        )
        self._live: dict[int, Track] = {}

    def repeat(self, done: Sequence[Segment]) -> None:
        """Brings the tracker to where it was: it makes the same of the same detections."""
        for segment in done:
            for time, found in zip(segment.times, segment.found, strict=True):
                self._tracker(found, time)
        self._live = {track.number: track for track in done[-1].live} if done else {}

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The detections that count of each frame."""
        images = [frame.image for frame in frames]
        return [
            self._select(found, image.shape[:2]) for found, image in zip(self._detector(images), images, strict=True)
        ]

    def take(self, frame: Frame, found: Detections, segment: Segment) -> None:
        """Tracks the detections of a frame and notes their crops."""
        segment.times.append(frame.time)
        segment.found.append(found)
        segment.position = frame.position
        tracks = self._tracker(found, frame.time)
        covered, luminance = covered_shares(found.boxes), frame_luminance(frame.image)
        for row in (tracks >= 0).nonzero()[0].tolist():
            left, top, right, bottom = (round(side) for side in found.boxes[row].tolist())
            pixels = frame.image[top:bottom, left:right]
            if pixels.size == 0:
                continue
            box, score, number = (left, top, right, bottom), float(found.scores[row]), int(tracks[row]) + 1
            quality = score * crop_quality(pixels, float(covered[row]), at_border(box, frame.image.shape[:2]))
            track = self._live.setdefault(number, Track(number, self._options.k, frame.time, frame.time))
            candidate = Candidate(frame.time, box, score, quality, luminance, pixels=pixels.copy())
            track.add(candidate, self._detector.names[int(found.classes[row])])

    def close(self, segment: Segment) -> None:
        """Writes the crops of the tracks that have ended by the end of a segment, all of them after the last."""
        for track in [*self._live.values()]:
            if segment.last or segment.position.time - track.last > 2 * self._options.lost + 1:
                if track.mean_score >= self._options.score:
                    segment.crops += [self._write(track, chosen) for chosen in track.chosen()]
                del self._live[track.number]
        segment.live = [*self._live.values()]

    def _write(self, track: Track, chosen: Candidate) -> Crop:
        path = f"{self._name}/{track.number:06d}_{chosen.time:010.3f}.jpg"
        write_atomically(self._out / path, chosen.encode())
        return Crop(path, track.number, chosen.time, chosen.box, chosen.score, chosen.luminance, track.type)


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    upcoming = iter(frames)
    while batch := [*islice(upcoming, size)]:
        yield batch
