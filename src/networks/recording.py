"""What goes into modules and comes out of them while a network runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn


class Call(NamedTuple):
    """One run of a module: its positional inputs, and its output."""

    inputs: tuple[Any, ...]
    output: Any


@contextmanager
def recorded(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Call]]]:
    """Records the calls of modules, in their order, as long as the context lasts.

    Args:
        modules: By what their calls shall be called.
    """
    calls: dict[str, list[Call]] = {name: [] for name in modules}

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        return lambda _module, inputs, output: calls[name].append(Call(inputs, output))

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
