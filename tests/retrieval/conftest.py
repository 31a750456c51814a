"""A distance whose values a test chooses."""

import numpy as np
import pytest
import torch


class _Matrix:
    """A distance that does exist as a whole."""

    device = torch.device("cpu")

    def __init__(self, values):
        self._values = torch.from_numpy(np.asarray(values, dtype=np.float32))
        self.shape = tuple(self._values.shape)

    def block(self, queries, gallery):
        return self._values[queries][:, gallery].clone()


@pytest.fixture(scope="session")
def dense_distance():
    """`dense_distance(values)`: distances from the rows to the columns of a matrix."""
    return _Matrix
