"""A stem or a stage as a chain of timm's modules, whatever the order of axes inside."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Chain(nn.Sequential):
    """Modules one after another, from map to map.

    Args:
        modules: The modules in order, by name.
        rows_in: Whether the first of them takes `(B, h, w, C)` instead of `(B, C, h, w)`.
        rows_out: Whether the last of them gives that.
    """

    def __init__(self, modules: Mapping[str, nn.Module], rows_in: bool = False, rows_out: bool = False) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self._rows_in, self._rows_out = rows_in, rows_out

    def forward(self, x: Tensor, carried: Any = None) -> tuple[Tensor, Any]:
        """The map `(B, C, h, w)` after the modules, and what is carried beside it as it came."""
        x = super().forward(x.permute(0, 2, 3, 1) if self._rows_in else x)
        return x.permute(0, 3, 1, 2) if self._rows_out else x, carried


class WholeNetwork(nn.Module):
    """A network that is no chain of stages, as one module from images to its last feature map `(B, C, h, w)`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, x: Tensor, carried: Any = None) -> tuple[Tensor, Any]:
        """The last feature map; tokens are put back into their places."""
        return self.model.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[-1], carried
