"""Optimiser and learning-rate schedule, as the papers write them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then steps or half a cosine: the factor on every learning rate, by epoch.

    Attributes:
        warmup_epochs: Epochs over which the factor rises linearly from `warmup_from` to 1.
        warmup_from: Factor of the first epoch.
        milestones: Epochs (0-based) from which the factor of the same place in `factors` holds.
        factors: Factors on the base rate, not on the previous one: `[.1, .01]` is "÷10, then ÷10 again".
        cosine_epochs: Epochs, those of the warm-up included, over which the factor falls from 1 to `cosine_to` along
            half a cosine (Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts); None for steps.
        cosine_to: Where it ends.
    """

    warmup_epochs: int = 0
    warmup_from: float = 1.0
    milestones: Sequence[int] = ()
    factors: Sequence[float] = ()
    cosine_epochs: int | None = None
    cosine_to: float = 0.0

    def __post_init__(self) -> None:
        if len(self.milestones) != len(self.factors) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(
                f"optim.schedule needs one factor for each of its ascending milestones; found milestones "
                f"{list(self.milestones)} and factors {list(self.factors)}."
            )
        if self.cosine_epochs is not None and (self.milestones or self.cosine_epochs < 1):
            raise ValueError(
                f"optim.schedule falls along a cosine over {self.cosine_epochs} epochs or in steps at "
                f"{list(self.milestones)}, not both; pass cosine_epochs=null or milestones=[] and factors=[]."
            )

    def __call__(self, epoch: int) -> float:
        """The factor in an epoch (0-based)."""
        if epoch < self.warmup_epochs:
            return self.warmup_from + (1 - self.warmup_from) * epoch / self.warmup_epochs
        if self.cosine_epochs is not None:
            done = min(epoch / self.cosine_epochs, 1)
            return self.cosine_to + (1 - self.cosine_to) * (1 + math.cos(math.pi * done)) / 2
        passed = [factor for milestone, factor in zip(self.milestones, self.factors, strict=True) if epoch >= milestone]
        return passed[-1] if passed else 1.0


@dataclass(frozen=True)
class Optim:
    """Optimisation of a stage.

    Attributes:
        optimizer: Called with the parameter groups (a partial of a `torch.optim` class).
        head_factor: Learning-rate factor of the head (classifier and neck, see `ReIDMethod.head`) over everything else.
        layer_decay: Learning-rate factor from one layer of a backbone to the next deeper one: the last block learns at
            this, the one before at its square, … the stem at the last power; parameters outside the backbone at 1 (Bao
            et al., "BEiT", ICLR 2022).
        bias_factor: Learning-rate factor of biases, norms' included.
        schedule: Factor on all learning rates by epoch.
        scale_lr: How all learning rates follow the images of a step, over all processes: `"none"`, `"linear"` (Goyal et
            al., "Accurate, Large Minibatch SGD", 2017) or `"sqrt"` (Krizhevsky, "One weird trick for parallelizing
            convolutional neural networks", 2014).
        reference_batch: Images of a step for which the rates are right as they are.
    """

    optimizer: Callable[..., torch.optim.Optimizer]
    head_factor: float = 1.0
    layer_decay: float = 1.0
    bias_factor: float = 1.0
    schedule: Schedule = field(default_factory=Schedule)
    scale_lr: Literal["none", "linear", "sqrt"] = "none"
    reference_batch: int | None = None

    def __post_init__(self) -> None:
        if self.scale_lr not in ("none", "linear", "sqrt"):
            raise ValueError(f"optim.scale_lr is {self.scale_lr!r}, expected none, linear or sqrt.")
        if self.scale_lr != "none" and not (self.reference_batch and self.reference_batch > 0):
            raise ValueError(
                f"optim.scale_lr={self.scale_lr} needs to know how many images of a step the rates are meant for; pass "
                f"optim.reference_batch=64, say, instead of {self.reference_batch}."
            )

    def factor(self, images: int) -> float:
        """The factor on all learning rates for steps of so many images, over all processes."""
        if self.scale_lr == "none" or self.reference_batch is None:
            return 1.0
        ratio = images / self.reference_batch
        return ratio if self.scale_lr == "linear" else math.sqrt(ratio)

    def build(
        self, module: nn.Module, head: Iterable[nn.Module], factor: float = 1.0
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """Builds the optimiser over a module's trainable parameters, and its schedule (stepped once an epoch).

        Args:
            module: The network.
            head: Sub-modules that learn at `head_factor` times the rate.
            factor: On all learning rates, see `factor`.
        """
        in_head = {id(p) for part in head for p in part.parameters()}
        distances = _distances(module)
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, p in module.named_parameters():
            if p.requires_grad:
                rate = self.head_factor if id(p) in in_head else self.layer_decay ** distances.get(id(p), 0)
                if name.rpartition(".")[2] == "bias":
                    rate *= self.bias_factor
                groups.setdefault((id(p) in in_head, rate), []).append(p)
        ordered = sorted(groups.items(), key=lambda item: item[0][0])  # the head last
        optimizer = self.optimizer([{"params": parameters} for _, parameters in ordered])
        for group, ((_, rate), _) in zip(optimizer.param_groups, ordered, strict=True):
            group["lr"] *= factor * rate
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)


def _distances(module: nn.Module) -> dict[int, int]:
    """Number of layers that each parameter of a backbone lies before the head, by its identity."""
    return {
        id(part.get_parameter(name)): distance
        for part in module.modules()
        for name, distance in getattr(part, "distances", {}).items()
    }
