"""Optimiser and learning-rate schedule, as the papers write them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then steps: the factor on every learning rate, by epoch.

    Attributes:
        warmup_epochs: Epochs over which the factor rises linearly from `warmup_from` to 1.
        warmup_from: Factor of the first epoch.
        milestones: Epochs (0-based) from which the factor of the same place in `factors` holds.
        factors: Factors on the base rate, not on the previous one: `[.1, .01]` is "÷10, then ÷10 again".
    """

    warmup_epochs: int = 0
    warmup_from: float = 1.0
    milestones: Sequence[int] = ()
    factors: Sequence[float] = ()

    def __post_init__(self) -> None:
        if len(self.milestones) != len(self.factors) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(
                f"optim.schedule needs one factor for each of its ascending milestones; found milestones "
                f"{list(self.milestones)} and factors {list(self.factors)}."
            )

    def __call__(self, epoch: int) -> float:
        """The factor in an epoch (0-based)."""
        if epoch < self.warmup_epochs:
            return self.warmup_from + (1 - self.warmup_from) * epoch / self.warmup_epochs
        passed = [factor for milestone, factor in zip(self.milestones, self.factors, strict=True) if epoch >= milestone]
        return passed[-1] if passed else 1.0


@dataclass(frozen=True)
class Optim:
    """Optimisation of a stage.

    Attributes:
        optimizer: Called with the parameter groups (a partial of a `torch.optim` class).
        head_factor: Learning-rate factor of the head (classifier and neck, see `ReIDMethod.head`) over everything else.
        schedule: Factor on all learning rates by epoch.
        scale_lr: How all learning rates follow the images of a step, over all processes: `"none"`, `"linear"` (Goyal et
            al., "Accurate, Large Minibatch SGD", 2017) or `"sqrt"` (Krizhevsky, "One weird trick for parallelizing
            convolutional neural networks", 2014).
        reference_batch: Images of a step for which the rates are right as they are.
    """

    optimizer: Callable[..., torch.optim.Optimizer]
    head_factor: float = 1.0
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
        trainable = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trainable if id(p) not in in_head]},
            {"params": [p for p in trainable if id(p) in in_head]},
        ]
        optimizer = self.optimizer([group for group in groups if group["params"]])
        for group in optimizer.param_groups:
            group["lr"] *= factor * (self.head_factor if id(group["params"][0]) in in_head else 1)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
