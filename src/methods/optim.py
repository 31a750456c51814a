"""Optimiser and learning-rate schedule, as the papers write them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

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
    """How a stage optimises.

    Attributes:
        optimizer: Called with the parameter groups (a partial of a `torch.optim` class).
        head_factor: Learning-rate factor of the head (classifier and neck, see `ReIDMethod.head`) over everything else.
        schedule: Factor on all learning rates by epoch.
    """

    optimizer: Callable[..., torch.optim.Optimizer]
    head_factor: float = 1.0
    schedule: Schedule = field(default_factory=Schedule)

    def build(
        self, module: nn.Module, head: Iterable[nn.Module]
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """Builds the optimiser over a module's trainable parameters, and its schedule (stepped once an epoch).

        Args:
            module: The network.
            head: Sub-modules that learn at `head_factor` times the rate.
        """
        in_head = {id(p) for part in head for p in part.parameters()}
        trainable = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trainable if id(p) not in in_head]},
            {"params": [p for p in trainable if id(p) in in_head]},
        ]
        optimizer = self.optimizer([group for group in groups if group["params"]])
        for group in optimizer.param_groups:
            if id(group["params"][0]) in in_head:
                group["lr"] *= self.head_factor
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
