import numpy as np
import pytest
import torch

from src.retrieval import FeatureDistance

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def in_float64(query, gallery, metric):
    if metric == "euclidean":
        return np.array([[np.sqrt(((q - g) ** 2).sum()) for g in gallery] for q in query])
    return np.array([[1 - q @ g / np.sqrt((q @ q) * (g @ g)) for g in gallery] for q in query])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_blocks_equal_the_formula(metric, dtype, device):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(6, 17, generator=generator).to(device, dtype)
    gallery = torch.randn(33, 17, generator=generator).to(device, dtype)
    expected = in_float64(query.double().cpu().numpy(), gallery.double().cpu().numpy(), metric)
    expected = torch.from_numpy(expected).float().to(device)
    distance = FeatureDistance(query, gallery, metric)
    assert distance.shape == (6, 33)
    torch.testing.assert_close(distance.block(slice(0, 6), slice(0, 33)), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(distance.block(slice(2, 5), slice(30, 33)), expected[2:5, 30:33], rtol=1e-5, atol=1e-5)
    rows, columns = torch.tensor([5, 0], device=device), torch.tensor([7, 7, 32], device=device)
    torch.testing.assert_close(distance.block(rows, columns), expected[rows][:, columns], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_builds_of_torch_without_onednn_give_the_same_blocks(metric, monkeypatch):
    generator = torch.Generator().manual_seed(4)
    distance = FeatureDistance(*(torch.randn(n, 40, generator=generator) for n in (30, 2500)), metric)
    expected = distance.block(slice(0, 30), slice(0, 2500))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    found = distance.block(slice(0, 30), slice(0, 2500))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_pairs_equal_the_formula_and_do_not_cancel(metric, dtype, device):
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(6, 1700, generator=generator).to(device, dtype)
    gallery = torch.randn(90, 1700, generator=generator).to(device, dtype)
    gallery[0] = query[0]
    expected = in_float64(query.double().cpu().numpy(), gallery.double().cpu().numpy(), metric)
    rows, columns = (torch.randint(count, (100,), generator=generator) for count in (6, 90))
    rows[0] = columns[0] = 0
    found = FeatureDistance(query, gallery, metric).pairs(rows.to(device), columns.to(device))
    assert found[0] == 0
    torch.testing.assert_close(found.cpu(), torch.from_numpy(expected[rows, columns]).float(), rtol=1e-5, atol=1e-6)


@pytest.fixture
def low_precision():
    """The common switch, and the libraries' own that torch 2.9 added and that must not be mixed with it."""
    torch.set_float32_matmul_precision("medium")
    libraries = [getattr(torch.backends.mkldnn, "matmul", None), torch.backends.cuda.matmul]
    libraries = [library for library in libraries if hasattr(library, "fp32_precision")]
    for library in libraries:
        library.fp32_precision = "tf32"
    yield lambda: [library.fp32_precision for library in libraries]
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("device", DEVICES)
def test_precision_settings_do_not_reach_the_product(device, low_precision):
    generator = torch.Generator().manual_seed(1)
    query, gallery = (torch.randn(n, 256, generator=generator).to(device) for n in (5, 50))
    distance = FeatureDistance(query, gallery)
    before = low_precision()
    with torch.autocast(device, dtype=torch.bfloat16):
        found = distance.block(slice(0, 5), slice(0, 50))
    assert low_precision() == before
    assert found.dtype == torch.float32
    expected = in_float64(query.double().cpu().numpy(), gallery.double().cpu().numpy(), "euclidean")
    np.testing.assert_allclose(found.cpu(), expected, rtol=1e-5)


def test_features_that_need_gradients_and_strided_ones_are_accepted():
    features = torch.randn(4, 10, generator=torch.Generator().manual_seed(2), requires_grad=True)
    strided = features.detach().numpy()[:, ::-2]
    expected = in_float64(strided, strided, "euclidean")
    block = FeatureDistance(strided, strided).block(slice(0, 4), slice(0, 4))
    np.testing.assert_allclose(block.numpy(), expected, atol=2e-3)  # √ of a rounding error on the diagonal
    assert not FeatureDistance(features, features).block(slice(0, 4), slice(0, 4)).requires_grad


def test_a_zero_feature_is_at_cosine_distance_one():
    block = FeatureDistance(np.zeros((1, 3)), np.eye(3), "cosine").block(slice(0, 1), slice(0, 3))
    assert block.tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("query", "gallery", "metric", "error", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), "euclidean", ValueError, "query has 3 dimensions and gallery 4"),
        (np.zeros(3), np.zeros((2, 3)), "euclidean", ValueError, r"query has shape \(3,\)"),
        (np.zeros((2, 0)), np.zeros((2, 0)), "cosine", ValueError, r"query has shape \(2, 0\)"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "manhattan", ValueError, "metric is 'manhattan'"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), "cosine", TypeError, "gallery is int64"),
        (torch.zeros(2, 3).int(), torch.zeros(2, 3), "cosine", TypeError, "query holds torch.int32"),
        ([[1.0]], np.zeros((2, 1)), "cosine", TypeError, "query is list"),
        (np.array([[0.0], [np.nan]]), np.zeros((2, 1)), "euclidean", ValueError, "query row 1 is not finite"),
        (np.zeros((2, 1)), np.array([[0.0], [np.inf]]), "euclidean", ValueError, "gallery row 1 is not finite"),
    ],
)
def test_wrong_features_are_refused(query, gallery, metric, error, message):
    with pytest.raises(error, match=message):
        FeatureDistance(query, gallery, metric)
