"""The spatio-temporal relation (STR) of VeRi's authors, beside which DFR-ST puts its own term (Table IV)."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from src.retrieval.distances.terms import Term


class SpatioTemporalRelation(Term):
    """`|T_i − T_j| / T_max · δ(C_i, C_j) / D_max`: near where time or road is short, far only where both are long.

    Liu et al., "A Deep Learning-Based Approach to Progressive Vehicle Re-identification for Urban Surveillance",
    ECCV 2016. Nothing is fitted.

    Args:
        cameras: Camera of each row and of each column, as rows of `camera_distances`.
        times: Time of each row and of each column.
        camera_distances: Road distances `(C, C)`, whose largest is D_max.
        longest: T_max.
        device: Where the blocks shall lie.
    """

    def __init__(
        self,
        cameras: tuple[ArrayLike, ArrayLike],
        times: tuple[ArrayLike, ArrayLike],
        camera_distances: NDArray[np.floating],
        longest: float,
        device: torch.device,
    ) -> None:
        self._cameras = tuple(torch.tensor(np.asarray(side), device=device) for side in cameras)
        self._times = tuple(torch.tensor(np.asarray(side, dtype=np.float64), device=device) for side in times)
        roads = torch.tensor(np.asarray(camera_distances, dtype=np.float64), device=device)
        # Where all is at one time or one place, every numerator is 0, too.
        scale = (longest or 1.0) * (float(np.max(camera_distances)) or 1.0)
        self._roads = (roads / scale).float()
        super().__init__(len(self._times[0]), len(self._times[1]), device)

    def measure(self, rows: Tensor, columns: Tensor) -> Tensor:
        """See `Term`."""
        gaps = (self._times[0][rows] - self._times[1][columns]).abs_().float()
        return gaps * self._roads[self._cameras[0][rows], self._cameras[1][columns]]
