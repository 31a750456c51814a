import numpy as np
import pytest
import torch

from src.retrieval import Relevance


@pytest.mark.parametrize("rule", ["none", "same_camera", "same_image"])
def test_pairs_equal_a_double_loop(rule):
    rng = np.random.default_rng(0)
    labels = {
        "query_ids": rng.integers(-1, 8, 20),
        "gallery_ids": rng.integers(-1, 6, 70),
        "query_cameras": rng.integers(0, 3, 20),
        "gallery_cameras": rng.integers(0, 3, 70),
        "query_items": rng.integers(0, 40, 20),
        "gallery_items": rng.integers(0, 40, 70),
    }
    relevance = Relevance(**{name: torch.from_numpy(values) for name, values in labels.items()}, ignore=rule)
    assert (relevance.n_queries, relevance.n_gallery) == (20, 70)
    for start, stop in ((0, 20), (6, 13), (19, 20), (4, 4)):
        positives, ignored = [], []
        for q in range(start, stop):
            for g in range(70):
                same_id = labels["query_ids"][q] == labels["gallery_ids"][g] != -1
                same_camera = labels["query_cameras"][q] == labels["gallery_cameras"][g]
                same_item = labels["query_items"][q] == labels["gallery_items"][g]
                out = {"none": False, "same_camera": same_id and same_camera, "same_image": same_item}[rule]
                if out:
                    ignored.append((q - start, g))
                elif same_id:
                    positives.append((q - start, g))
        for found, expected in zip(relevance.pairs(start, stop), (positives, ignored), strict=True):
            assert list(zip(found.rows.tolist(), found.columns.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ignore": "same_camera"}, ValueError, "needs query_cameras"),
        ({"ignore": "same_camera", "query_cameras": [1, 2]}, ValueError, "needs gallery_cameras"),
        ({"ignore": "same_image", "query_items": [1, 2]}, ValueError, "needs gallery_items"),
        ({"ignore": "same_day"}, ValueError, "ignore is 'same_day'"),
        (
            {"ignore": "same_camera", "query_cameras": [1], "gallery_cameras": [1, 1, 1]},
            ValueError,
            "query_cameras has 1 values, expected 2",
        ),
        ({"query_ids": [[1, 2]]}, ValueError, "query_ids has shape"),
        ({"gallery_ids": [1.5, 2.0]}, TypeError, "gallery_ids holds float64"),
        ({"query_ids": ["0002", "0005"]}, TypeError, "query_ids holds <U4"),
    ],
)
def test_wrong_labels_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Relevance(**({"query_ids": [1, 2], "gallery_ids": [1, 2, 3]} | arguments))
