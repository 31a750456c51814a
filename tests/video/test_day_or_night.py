"""Day and night from the sun and from luminance."""

from datetime import UTC, datetime

import cv2
import numpy as np
import pandas as pd
import pytest

from src.video.day_or_night import Place, by_luminance, by_sun, frame_luminance, sun_elevation
from src.video.decode import Every, Video


def moment(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_the_sun_stands_where_it_should():
    # On the day of the equinox the sun is in the zenith of the equator at noon; the equation of time is −7 minutes.
    assert sun_elevation(Place(0, 0), moment("2026-03-20T12:07:30")) == pytest.approx(90, abs=0.6)
    assert sun_elevation(Place(51.48, 0), moment("2026-06-21T12:02")) == pytest.approx(90 - 51.48 + 23.44, abs=0.2)
    assert sun_elevation(Place(51.48, 0), moment("2026-12-21T00:00")) == pytest.approx(-(90 - 51.48 + 23.44), abs=0.5)
    # The same moment east of it is later in the day.
    assert sun_elevation(Place(0, 45), moment("2026-03-20T12:07")) == pytest.approx(45, abs=0.6)


def test_dusk_is_a_threshold_in_degrees():
    saigon = Place(10.77, 106.70)  # sunset at 17:28 (UTC+7) on that day
    times = [moment(f"2026-11-21T{clock}") for clock in ("05:00", "10:30", "10:40", "12:00")]
    judged = by_sun(saigon, times, -3)
    assert judged.domains == ["day", "day", "night", "night"]
    assert judged.doubtful == 0.5
    assert by_sun(saigon, times, -12).domains == ["day", "day", "day", "night"]
    assert by_sun(saigon, [], 0).domains == []


def test_luminance_is_the_mean_of_grey(vehicles):
    for image in vehicles:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean() / 255
        assert frame_luminance(image) == pytest.approx(grey, abs=0.02)
    assert by_luminance([0.05, 0.25, 0.35, 0.6]).domains == ["night", "night", "day", "day"]
    assert by_luminance([0.05, 0.25, 0.35, 0.6]).doubtful == 0.5


def test_luminance_on_rendered_day_and_night_and_the_real_video(quickstart, quickstart_veri, shared):
    right = []
    for root in (quickstart, quickstart_veri):
        table = pd.read_csv(root / "meta.csv").groupby("domain").head(200)
        images = [cv2.imread(str(root / path))[..., ::-1] for path in table["path"]]
        right.append((by_luminance([*map(frame_luminance, images)]).domains == table["domain"]).mean())
    # Crops of lit vehicles are the hardest frames there are: better than chance is all that luminance gives.
    assert np.mean(right) > 0.55, right
    if shared is not None:
        with Video(shared / "video" / "road.mp4") as video:
            real = [frame_luminance(frame.image) for frame in video.frames(Every.parse("10f"))]
        assert by_luminance(real).domains == ["day"] * len(real)
