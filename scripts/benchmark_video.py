"""CPU time of each step from a video to crops, a frame.

`python -m scripts.benchmark_video road.mp4 --detectors yolox_nano.onnx nanodet_m_320.onnx` prints Markdown.
"""

import argparse
import time
from pathlib import Path

from src.video.best_crops import at_border, covered_shares, crop_quality
from src.video.decode import Every, Video
from src.video.detections import VEHICLES, Selection, class_numbers
from src.video.detectors import make_detector
from src.video.tracklets import TRACKERS, Tracker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--detectors", nargs="+", default=[])
    options = parser.parse_args()
    start = time.process_time()
    with Video(options.video) as video:
        frames, rate = [*video.frames(Every())], video.frame_rate
    height, width = frames[0].image.shape[:2]
    print("| step | CPU ms a frame |\n|---|---|")
    _row(f"decoding {width} × {height}", start, len(frames))
    for name in options.detectors:
        detector = make_detector(name, weights=None, names=None, device="cpu", threads=1)
        select = Selection(class_numbers(detector.names, VEHICLES), 0.1, 32)
        start = time.process_time()
        found = [select(detector([frame.image])[0], (height, width)) for frame in frames]
        _row(f"detecting, {Path(name).stem}", start, len(frames))
        for kind in TRACKERS:
            tracker = Tracker(kind, frame_rate=rate, score=0.4, lost=1.0)
            start = time.process_time()
            for frame, detections in zip(frames, found, strict=True):
                tracker(detections, frame.time)
            _row(f"tracking, {kind}, {sum(map(len, found)) / len(frames):.1f} boxes", start, len(frames))
        start = time.process_time()
        for frame, detections in zip(frames, found, strict=True):
            covered = covered_shares(detections.boxes)
            for share, corners in zip(covered, detections.boxes.round().astype(int).tolist(), strict=True):
                left, top, right, bottom = corners
                border = at_border((left, top, right, bottom), (height, width))
                crop_quality(frame.image[top:bottom, left:right], float(share), border)
        _row("judging crops", start, len(frames))


def _row(step: str, start: float, frames: int) -> None:
    print(f"| {step} | {1000 * (time.process_time() - start) / frames:.1f} |")


if __name__ == "__main__":
    main()
