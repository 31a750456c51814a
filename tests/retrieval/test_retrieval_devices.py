"""The engine on a device that is made up: every tensor where it belongs, and the same numbers as on the CPU."""

import numpy as np
import pytest
import torch

from src.retrieval import (
    FeatureDistance,
    KReciprocalDistance,
    Mining,
    alpha_query_expansion,
    dbscan_query_expansion,
    evaluate,
    mine_identities,
    search,
    weighted_track_features,
)
from tests.made_up_device import OnDevice


@pytest.fixture
def data():
    """30 queries and 90 gallery images of 10 vehicles, with cameras and tracks."""
    random = np.random.default_rng(0)
    ids, cameras = random.integers(10, size=120), random.integers(4, size=120)
    features = torch.nn.functional.normalize(torch.randn(10, 16)[ids] + 0.5 * torch.randn(120, 16))
    return features[:30], features[30:], ids, cameras


def results(query, gallery, ids, cameras):
    """What the engine makes of features, wherever they are."""
    both = {"query_cameras": cameras[:30], "gallery_cameras": cameras[30:], "ignore": "same_camera"}
    everything = torch.cat([query, gallery])
    reranked = KReciprocalDistance(FeatureDistance(everything, everything), 30)
    indices, distances = search(query, gallery, 7, backend="torch")
    return {
        "evaluation": evaluate(query, gallery, ids[:30], ids[30:], **both).mAP,
        "k-reciprocal": reranked.block(slice(0, 30), slice(0, 90)).cpu(),
        "list": torch.from_numpy(indices),
        "distances": torch.from_numpy(distances),
        "alpha expansion": alpha_query_expansion(query, gallery, 5, 1.0).cpu(),
        "DBSCAN expansion": dbscan_query_expansion(query, eps=0.8)[0].cpu(),
        "tracks": weighted_track_features(query, gallery, ids[30:]).cpu(),
        "mined": torch.from_numpy(mine_identities(everything, 30, Mining()).labels),
    }


def test_the_engine_keeps_to_its_device(data, device, monkeypatch):
    query, gallery, ids, cameras = data
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # other threads would not know of the device
    try:
        expected = results(query, gallery, ids, cameras)
        with device:
            found = results(query.as_subclass(OnDevice), gallery.as_subclass(OnDevice), ids, cameras)
    finally:
        torch.set_num_threads(before)
    for name, value in expected.items():
        assert not isinstance(found[name], OnDevice)
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
