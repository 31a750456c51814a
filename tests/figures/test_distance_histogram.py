import cv2
import numpy as np
import pytest

from src.figures.distance_histogram import draw_distances, draw_vehicles, pair_distances


@pytest.fixture
def images():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(30, 7))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features[11] = features[4]  # a copy
    ids = rng.integers(0, 6, 30)
    ids[11] = ids[4]
    return features.astype(np.float32), ids, rng.choice(np.array(["day", "night"], dtype=object), 30)


@pytest.mark.parametrize("across", [False, True])
def test_pairs_are_those_of_plain_loops(images, across):
    features, ids, domains = images
    domains[11] = "night" if domains[4] == "day" else "day"
    same, others, copies = [], [], 0
    for one in range(30):
        for other in range(one + 1, 30):
            if across and domains[one] == domains[other]:
                continue
            distance = float(np.linalg.norm(features[one].astype(np.float64) - features[other]))
            if (one, other) == (4, 11):
                copies += 1
            elif ids[one] == ids[other]:
                same.append(distance)
            else:
                others.append(distance)
    found = pair_distances(features, ids, domains if across else None)
    np.testing.assert_allclose(np.sort(found.same), np.sort(same), atol=1e-6)
    np.testing.assert_allclose(np.sort(found.others), np.sort(others), atol=1e-6)
    assert found.copies == copies == 1


def test_vehicles_are_drawn_whole_and_always_the_same():
    ids = np.random.default_rng(1).integers(0, 50, 1000)
    drawn = draw_vehicles(ids, most=300)
    np.testing.assert_array_equal(drawn, draw_vehicles(ids, most=300))
    assert 200 < len(drawn) <= 300
    assert set(ids[drawn]).isdisjoint(np.delete(ids, drawn))
    assert (np.diff(drawn) > 0).all()
    assert not np.array_equal(drawn, draw_vehicles(ids, most=300, seed=1))
    np.testing.assert_array_equal(draw_vehicles(ids, most=1000), np.arange(1000))
    assert len(set(ids[draw_vehicles(ids, most=1)])) == 2


def test_a_picture_is_drawn(images, tmp_path):
    draw_distances(pair_distances(*images[:2]), "All pairs", tmp_path / "new/distances.png")
    assert cv2.imread(str(tmp_path / "new/distances.png")).std() > 0
