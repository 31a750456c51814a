"""Tests for a GPU; without one each of them says so."""

import pytest
import torch


@pytest.fixture
def device() -> torch.device:
    """The first GPU."""
    if not torch.cuda.is_available():
        pytest.skip("There is no GPU: torch.cuda.is_available() is false.")
    return torch.device("cuda", 0)


@pytest.fixture
def second(device: torch.device) -> torch.device:
    """The second GPU."""
    if torch.cuda.device_count() < 2:
        pytest.skip("There is one GPU, and this test needs two.")
    return torch.device("cuda", 1)
