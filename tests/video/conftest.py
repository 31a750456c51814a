"""Clips made of rendered vehicles, and a detector that finds them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from src.video.detections import Detections

ROOT = Path(__file__).resolve().parents[2]
GREY = 128


class Blobs:
    """Finds whatever is not grey, as cars of score 0.9."""

    names = ("person", "car")

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self._one(image) for image in images]

    def _one(self, image):
        differs = (np.abs(image.astype(int) - GREY).max(axis=2) > 40).astype(np.uint8)
        joined = cv2.dilate(differs, np.ones((9, 9), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
        boxes = [(x + 4, y + 4, x + w - 4, y + h - 4) for x, y, w, h, area in stats[1:].tolist() if area > 500]
        found = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        return Detections(found, np.full(len(found), 0.9, np.float32), np.full(len(found), 1, np.int64))


def write_clip(path, images, times, codec="libx264", **options):
    """A video of RGB images that are shown at these times."""
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.gop_size = 10
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def drive(vehicles, times, size=(160, 320), speed=60, pauses=()):
    """Frames in which vehicles drive to the right one after the other, each in a lane of its own, on grey."""
    height = size[0] // len(vehicles)
    frames = []
    for time in times:
        frame = np.full((*size, 3), GREY, np.uint8)
        for lane, vehicle in enumerate(vehicles):
            side = height - 16
            small = cv2.resize(vehicle, (side, side), interpolation=cv2.INTER_AREA)
            left = round(speed * (time - 1.5 * lane)) % 100_000
            if 0 <= left <= size[1] - side:
                top = lane * height + 8
                frame[top : top + side, left : left + side] = small
        frames.append(frame)
    return frames


@pytest.fixture
def vehicles(quickstart_veri):
    """Two rendered vehicles, RGB."""
    files = sorted((quickstart_veri / "image_train").glob("*.jpg"))
    return [cv2.imread(str(file))[..., ::-1] for file in (files[0], files[-1])]


@pytest.fixture
def clip(tmp_path, vehicles):
    """Eight seconds at 10 frames a second: the first vehicle from 0 s, the second from 1.5 s."""
    times = np.arange(80) / 10
    return write_clip(tmp_path / "clip.mp4", drive(vehicles, times), times)


@pytest.fixture(scope="session")
def shared():
    """Real videos and detectors, where they are; None elsewhere."""
    folders = [folder / "shared" / "data" for folder in (ROOT.parent, ROOT.parent.parent)]
    return next((folder for folder in folders if folder.is_dir()), None)
