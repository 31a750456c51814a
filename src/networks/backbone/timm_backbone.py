"""Any timm backbone, cut into a stem and stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from src.networks.backbone.creation import create, use_size
from src.networks.backbone.cut import PROBE, cut, whole
from src.networks.backbone.ibn import use_ibn_a
from src.networks.backbone.layers import compute_again, freeze_layers, note_distances, number_layers
from src.networks.backbone.non_local import use_non_local
from src.networks.backbone.plain_transformer import Carried, PatchStem, is_plain
from src.networks.backbone.stem import Stem, use_stem
from src.networks.backbone.weights import read_package, read_state_dict


class Backbone(nn.Module):
    """A timm network without its classifier, as a stem and four stages.

    Images enter as 0…255; they are normalised here, on the device, and nowhere else in the project. A method that needs
    the maps in between runs the parts itself::

        x, carried = backbone.begin(images)
        for stage in backbone.stages:
            x, carried = stage(x, carried)

    where x is the map `(B, C, h, w)`, which may be changed on the way, and `carried` what a transformer passes on
    beside it (see `Carried`; None for others).

    Modules keep timm's names below `stem.` and `stages.<i>.`, as in `stages.0.layer1.0.conv1.weight`. The blocks of a
    plain vision transformer are its stages in four groups, over a map of one resolution. A network that is no chain of
    stages (HRNet) becomes one stage behind an empty stem.

    Args:
        name: A model name of timm.
        weights: None for random weights, `"timm"` for timm's pretrained ones, `"package"` for those of an installed
            package (see `PACKAGES`), or the path of a state dict (see `load_weights`).
        last_stride: Stride of the last stage: 1 keeps the resolution of the stage before, None is the network's own. A
            plain vision transformer has no other than 1.
        ibn: `"a"` puts instance normalisation into the first three stages of a ResNet.
        stem: Whose stem a ResNet has, for weights that were trained with it; see `use_stem`. None for timm's.
        non_local: How many non-local blocks each stage of a ResNet ends with; see `use_non_local`. None for none. They
            start anew whatever the weights.
        mean: Channel means, on the 0…255 scale; None for those that timm's weights were trained with.
        std: Channel deviations, likewise.
        image_size: Height and width, or one number for both, that position embeddings and windows of a transformer are
            made for: embeddings are resized once and then learnt at that size. None for timm's own. Images of another
            size can be embedded all the same.
        patch_stride: How far a plain vision transformer moves its patches: 12 of 16 pixels lets them overlap. None for
            the side of a patch.
        drop_path: Rate at which residual branches of the last block are dropped in training, linearly less before it;
            None for timm's.
        frozen_blocks: How many blocks from the start, and the stem before them, stay as they are, statistics included.
        checkpointing: Compute the inside of blocks again for the gradient instead of keeping it.

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
        last_stride: int | None = 1,
        ibn: Literal["a"] | None = None,
        stem: Stem | None = None,
        non_local: Sequence[int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        image_size: int | Sequence[int] | None = None,
        patch_stride: int | None = None,
        drop_path: float | None = None,
        frozen_blocks: int = 0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self._frozen: list[str] = []
        if last_stride not in (1, 2, None):
            raise ValueError(f"last_stride must be 1, 2 or null, got {last_stride!r}.")
        if ibn not in (None, "a"):
            raise ValueError(f"ibn must be null or 'a', got {ibn!r}.")
        self.name = name
        model = create(name, weights == "timm", drop_path)
        for key, given in (("mean", mean), ("std", std)):
            values = [255 * value for value in model.pretrained_cfg[key]] if given is None else [*given]
            self.register_buffer(key, torch.tensor(values).view(3, 1, 1), persistent=False)
        matcher = model.group_matcher(coarse=False)
        size = [image_size] * 2 if isinstance(image_size, int) else image_size
        if size is not None and not is_plain(model):
            use_size(model, name, size)
        parts = cut(model)
        self.staged = parts is not None
        self.stem, self.stages, self._origin = parts or whole(model)
        self._heads = _heads(model, self._origin)
        if isinstance(self.stem, PatchStem):
            self._set_up_patches(last_stride, patch_stride, size)
        elif patch_stride is not None:
            raise ValueError(f"patch_stride belongs to plain vision transformers, and {name!r} is none; pass null.")
        elif last_stride == 1:
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
        layers = number_layers(self, self._timm_name, matcher)
        note_distances({"stem": self.stem, **{f"stages.{i}": stage for i, stage in enumerate(self.stages)}}, layers)
        self._frozen = freeze_layers(self, layers, frozen_blocks)
        self.train()
        if checkpointing:
            compute_again(self, name)

    def normalise(self, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` on the 0…255 scale, uint8 or floating, as the network wants them."""
        return (images.to(self.mean.dtype, memory_format=torch.channels_last) - self.mean) / self.std

    @property
    def has_class_token(self) -> bool:
        """Whether a class token is carried beside the map."""
        return isinstance(self.stem, PatchStem) and self.stem.model.cls_token is not None

    def begin(self, images: Tensor) -> tuple[Tensor, Carried | None]:
        """The stem's map of images `(B, 3, H, W)` on the 0…255 scale, and what is carried beside it."""
        x, carried = self.stem(self.normalise(images))
        return x, carried

    def features(self, images: Tensor) -> tuple[Tensor, Carried | None]:
        """The last map `(B, C, h, w)` of images `(B, 3, H, W)` on the 0…255 scale, and what is left beside it."""
        x, carried = self.begin(images)
        for stage in self.stages:
            x, carried = stage(x, carried)
        return x, carried

    def forward(self, images: Tensor) -> Tensor:
        """The last feature map `(B, C, h, w)` of images `(B, 3, H, W)` on the 0…255 scale."""
        return self.features(images)[0]

    def train(self, mode: bool = True) -> Self:
        """Switches to training, frozen blocks excepted."""
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        return self

    def load_weights(self, path: str | Path) -> None:
        """Loads a state dict with timm's (or, for a ResNet, torchvision's) names; a classifier in it is dropped.

        Position embeddings of a plain vision transformer are resized to this network's `image_size`, and a token of
        DeiT's distillation that the network does not have is left out with its own.

        Args:
            path: A `.safetensors` file or one written by `torch.save`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: Names or shapes do not match.
        """
        found = {k: v for k, v in read_state_dict(path).items() if not k.startswith((*self._heads, "head_dist."))}
        if isinstance(self.stem, PatchStem):
            found = self.stem.fitted(found)
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

    def _set_up_patches(self, last_stride: int | None, patch_stride: int | None, size: Sequence[int] | None) -> None:
        """Stride of the patches, and position embeddings for a size, of a plain vision transformer."""
        stem = cast(PatchStem, self.stem)
        if last_stride == 2:
            raise ValueError(
                f"The stages of {self.name!r}, a plain vision transformer, all have one resolution; pass last_stride=1."
            )
        if patch_stride is not None:
            stem.use_stride(patch_stride)
        if size is not None:
            stem.use_size(size)

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
        try:
            x, carried = self.stem(torch.zeros(1, 3, PROBE, PROBE))
            maps = [x]
            for stage in self.stages:
                x, carried = stage(x, carried)
                maps.append(x)
        except AssertionError as error:
            raise ValueError(f"Backbone {self.name!r} takes images of one size only: {error}") from error
        self.train()
        channels = [m.shape[1] for m in maps]
        if isinstance(self.stem, PatchStem):
            return channels, [self.stem.stride] * len(maps)
        return channels, [round(PROBE / m.shape[3]) for m in maps]


def _heads(model: nn.Module, origin: dict[str, str]) -> tuple[str, ...]:
    """Prefixes of what a complete network has beyond the backbone: its classifier and the layers on the way there."""
    used = {name.partition(".")[0] for name in origin.values()}
    return tuple(
        f"{child}."
        for child, module in model.named_children()
        if child not in used and not ("" in used and module.state_dict())  # "" stands for the whole network
    )
