"""Numbers of a device, on their way to the host."""

import torch
from torch import Tensor


class HostCopy:
    """A copy of a tensor in the host's memory that is under way while the device goes on.

    `bool(loss.isfinite())` makes the host wait until the device has computed the loss, and the device then wait for its
    next work. A copy that is begun at once and read a step later costs neither of them anything.

    Args:
        values: On any device.
    """

    def __init__(self, values: Tensor) -> None:
        self._values, self._arrival = values.detach(), None
        if values.is_cuda:
            self._values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(
                self._values, non_blocking=True
            )
            self._arrival = torch.cuda.Event()
            self._arrival.record()

    def read(self) -> Tensor:
        """The values; waits if they have not arrived yet."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._values
