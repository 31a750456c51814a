"""timm's networks by name, ready to be cut."""

from collections.abc import Sequence
from typing import Any

import timm


def create(name: str, pretrained: bool, drop_path: float | None = None) -> Any:
    """A network of timm without its classifier, for images of any size if it can.

    Args:
        name: A model name of timm.
        pretrained: With timm's weights.
        drop_path: Rate of stochastic depth; None for timm's.

    Raises:
        ValueError: There is no such network, or it has no stochastic depth.
        ConnectionError: timm's weights cannot be had.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        raise ValueError(f"timm has no model {name!r}" + (f"; did you mean one of {near}?" if near else "."))
    try:
        options: dict[str, Any] = {} if drop_path is None else {"drop_path_rate": drop_path}
        try:
            # a transformer takes images of one size unless told otherwise; other networks do not know the word
            return timm.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True, **options)
        except TypeError:
            return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        if drop_path is None:
            raise
        raise ValueError(f"Backbone {name!r} has no stochastic depth; pass drop_path=null.") from error
    except (OSError, ValueError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ConnectionError(
            f"timm's weights of {name!r} cannot be had ({type(error).__name__}): pass backbone.weights=<local file>, "
            "or backbone=efficientnet_lite0, whose weights come with the installation."
        ) from error


def use_size(model: Any, name: str, size: Sequence[int]) -> None:
    """Makes windows and embeddings of a hierarchical transformer those of images of this height and width.

    Raises:
        ValueError: If the network has nothing that depends on the size, or does not take it.
    """
    if not hasattr(model, "set_input_size"):
        raise ValueError(f"Nothing in backbone {name!r} depends on the size of the images; pass image_size=null.")
    try:
        model.set_input_size(tuple(size))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"Backbone {name!r} cannot be made for images of {[*size]} pixels: {error}") from error
