from collections import Counter

import cv2
import numpy as np
import pytest

from src.figures.embedding_map import choose_images, draw_embedding_map

NOWHERE = np.full(60, "", dtype=object)


@pytest.fixture
def ids():
    """Vehicles 10 … 19 with five images each, ten more that are seen once."""
    return np.concatenate([np.repeat(np.arange(10, 20), 5), np.arange(30, 40)])


def test_vehicles_are_spread_over_those_seen_twice(ids):
    chosen = choose_images(ids, NOWHERE, vehicles=4)
    assert Counter(ids[chosen].tolist()) == dict.fromkeys((10, 13, 16, 19), 5)
    assert set(ids[choose_images(ids, NOWHERE, vehicles=99)]) == set(range(10, 20))
    assert len(choose_images(np.arange(5), NOWHERE[:5], vehicles=4)) == 0


def test_vehicles_of_day_and_night_go_first_with_images_of_both(ids):
    domains = np.full(60, "day", dtype=object)
    domains[[0, 1, 11, 12, 13, 14]] = "night"  # of vehicles 10 and 12
    chosen = choose_images(ids, domains, vehicles=20, images=2)
    assert set(ids[chosen]) == {10, 12}
    assert Counter(zip(ids[chosen], domains[chosen], strict=True)) == {
        (vehicle, domain): 1 for vehicle in (10, 12) for domain in ("day", "night")
    }


def test_the_map_is_the_same_every_time_and_crosses_differ_from_dots(ids, tmp_path):
    kept = ids < 14
    features = np.random.default_rng(2).normal(size=(kept.sum(), 8))
    domains = np.tile(np.array(["day", "night"], dtype=object), kept.sum() // 2)
    for name in ("one", "again"):
        draw_embedding_map(features, ids[kept], domains, tmp_path / f"{name}.png")
    draw_embedding_map(features, ids[kept], NOWHERE[: kept.sum()], tmp_path / "dots.png")
    one, again, dots = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("one", "again", "dots"))
    np.testing.assert_array_equal(one, again)
    assert (one != dots).any()
