"""Videos of rendered vehicles that drive past cameras, made from a data set in the VeRi-776 layout with masks.

`python -m scripts.rendered_clips data/quickstart_veri clips` writes a video a camera and `cameras.csv` for `src.crop`.
Each vehicle passes each camera that has seen it, on its own pictures, cut out by their masks, and comes nearer.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

_SIZE, _RATE, _SECONDS = (360, 640), 12, 3.0  # of the frame; frames a second; that a vehicle is in view
_PAUSE, _TRAVEL = 2.2, 12.0  # seconds between two vehicles at a camera, and from one camera to the next


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--vehicles", type=int, default=8)
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--start", default="2026-11-21T08:14:00+07:00")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = _chosen(pd.read_csv(options.root / "meta.csv"), options.vehicles, options.cameras)
    lines = ["video,camera,start,place"]
    for place, (camera, seen) in enumerate(table.groupby("camera_id")):
        path = options.out / f"camera{camera}.mp4"
        trips = {
            float(2 + _PAUSE * order + _TRAVEL * place): [
                _cut_out(options.root, file) for file in own.sort_values("timestamp_s")["path"]
            ]
            for order, (_, own) in enumerate(seen.groupby("vehicle_id"))
        }
        _write(path, trips, seed=place)
        lines.append(f"{path.name},{camera},{options.start},10.77 106.70")
    (options.out / "cameras.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _chosen(table: pd.DataFrame, vehicles: int, cameras: int) -> pd.DataFrame:
    """Test images by day of the vehicles that most of the cameras with the most images have seen."""
    day = table[(table["domain"] == "day") & table["path"].str.startswith("image_test")]
    most = day["camera_id"].value_counts().index[:cameras]
    day = day[day["camera_id"].isin(most)]
    often = day.groupby("vehicle_id")["camera_id"].nunique().sort_values(ascending=False, kind="stable")
    return day[day["vehicle_id"].isin(often.index[:vehicles])]


def _cut_out(root: Path, path: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A picture, RGB, and how much of each pixel is vehicle."""
    image = cv2.imread(str(root / path), cv2.IMREAD_COLOR)
    mask = cv2.imread(str(next((root / "masks").rglob(f"{Path(path).stem}.*"))), cv2.IMREAD_GRAYSCALE)
    if image is None or mask is None:
        raise OSError(f"{root / path} or its mask cannot be read.")
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1)
    return np.asarray(image[..., ::-1], dtype=np.uint8), np.asarray(soft, dtype=np.float32)


def _write(path: Path, trips: dict[float, list[tuple[NDArray[np.uint8], NDArray[np.float32]]]], seed: int) -> None:
    road = _road(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.height, stream.width = _SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(round((max(trips) + _SECONDS + 1) * _RATE)):
            time, frame = number / _RATE, road.copy()
            for begin, pictures in trips.items():
                share = (time - begin) / _SECONDS
                if 0 <= share < 1:
                    _paste(frame, *pictures[int(share * len(pictures))], share)
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
            shown.pts, shown.time_base = number, Fraction(1, _RATE)
            container.mux(stream.encode(shown))
        container.mux(stream.encode())


def _road(seed: int) -> NDArray[np.uint8]:
    """Sky, verge and a road with lane marks, a little different for each camera."""
    rng = np.random.default_rng(seed)
    height, width = _SIZE
    frame = np.empty((height, width, 3), dtype=np.uint8)
    frame[: height // 4] = (170, 195, 215)
    frame[height // 4 :] = (96, 112, 82)
    corners = np.array([[width * 0.1, height // 4], [width * 0.5, height // 4], [width, height], [0, height]])
    cv2.fillPoly(frame, [corners.astype(np.int32)], (105 + 5 * seed, 105 + 5 * seed, 108 + 5 * seed))
    noise = rng.normal(scale=4, size=frame.shape)
    return np.asarray((frame + noise).clip(0, 255), dtype=np.uint8)


def _paste(frame: NDArray[np.uint8], image: NDArray[np.uint8], mask: NDArray[np.float32], share: float) -> None:
    """Puts a vehicle on the road, larger the nearer it is."""
    height, width = _SIZE
    side = round(130 + 100 * share)
    scale = side / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small, cover = cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.resize(mask, size)[..., None]
    top, left = round(height * (0.15 + 0.15 * share)), round(width * (0.12 + 0.4 * share))
    part = frame[top : top + size[1], left : left + size[0]]
    part[:] = (cover * small + (1 - cover) * part).astype(np.uint8)


if __name__ == "__main__":
    main()
