"""Post-processing as a list of steps, chosen by name.

Feature steps change features, distance steps add a term, `k_reciprocal` re-ranks, filters take entries out of a query's
list, ranking steps change its order. Each is a small dataclass of its options, a function from states to states. One
that cannot come where it stands, or lacks what it needs, says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from src.retrieval.steps import distance_steps, feature_steps, ranking_steps
from src.retrieval.steps.state import State
from src.retrieval.steps.step import Step, StepError
from src.runtime.errors import did_you_mean

#: Name → step: all of these files, in an order that makes sense.
STEPS: dict[str, type[Step]] = {
    step.name: step
    for module in (feature_steps, distance_steps, ranking_steps)
    for step in vars(module).values()
    if isinstance(step, type) and issubclass(step, Step) and "name" in vars(step)
}

__all__ = ["STEPS", "Step", "StepError", "make_steps", "take"]


def make_steps(names: Sequence[str], options: Mapping[Any, Any]) -> list[Step]:
    """The steps of a list of names.

    Args:
        names: Names in `STEPS`.
        options: Options of each step by its name; those of steps that are not in the list are ignored.

    Raises:
        StepError: If a name or an option is unknown.
    """
    return [_make(name, options.get(name) or {}) for name in names]


def _make(name: str, options: Mapping[Any, Any]) -> Step:
    if name not in STEPS:
        raise StepError(
            f"retrieval.steps names {name!r}, expected some of {', '.join(STEPS)}{did_you_mean(name, STEPS)}"
        )
    allowed = [field.name for field in fields(STEPS[name])]
    for option in options:
        if option not in allowed:
            shown = ", ".join(allowed) or "no options"
            raise StepError(
                f"retrieval.{name}.{option} is unknown: {name} takes {shown}{did_you_mean(option, allowed)}"
            )
    return STEPS[name](**{str(option): value for option, value in options.items()})


def take(states: Sequence[State], steps: Sequence[Step]) -> State:
    """Takes all steps, for one model or several.

    Raises:
        StepError: If a step cannot be taken, or the models' states are not joined by any.
    """
    current = list(states)
    for step in steps:
        current = step.run(current)
    if len(current) > 1:
        raise StepError(
            f"retrieval.steps leaves {len(current)} models apart: put concatenate first to join their features, or "
            "sum_distances after the steps that make their distances."
        )
    return current[0]
