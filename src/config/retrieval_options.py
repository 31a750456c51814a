"""Options of retrieval: metric, views, index and each step of post-processing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from omegaconf import DictConfig

from src.config.targets import check_keys
from src.config.values import check_values
from src.retrieval import STEPS, FilterCounts, IndexKind, Metric, make_steps
from src.retrieval.index.options import OPTIONS
from src.runtime.ranges import AboveZero, Natural, Positive


@dataclass(frozen=True)
class Retrieval:
    """The keys of `conf/retrieval/exact.yaml` that are no step's; see there for what each means."""

    steps: Sequence[str]
    metric: Metric
    filter_counts: FilterCounts
    flip: bool | None
    scales: Sequence[AboveZero] | None
    verification: bool
    index: Any
    queries: Natural
    top_k: Positive


def check_retrieval(key: str, options: DictConfig) -> None:
    """Refuses unknown keys, steps and kinds of index, and values that they cannot have.

    Args:
        key: Of the node, for the message.
        options: The node of a command that ranks; changed in place, see `check_values`.

    Raises:
        ConfigError: Names the key, what was found and what is expected.
        StepError: If a step or an option of a step is unknown.
    """
    check_keys(key, options, [*(field.name for field in fields(Retrieval)), *STEPS])
    check_values(key, options, get_type_hints(Retrieval, include_extras=True))
    for name, step in STEPS.items():
        if node := options.get(name):
            check_keys(f"{key}.{name}", node, [field.name for field in fields(step)], owner=name)
            check_values(f"{key}.{name}", node, get_type_hints(step, include_extras=True))
    make_steps(options.steps, options)
    check_values(f"{key}.index", options.index, {"kind": IndexKind})
    allowed = OPTIONS[options.index.kind]
    check_keys(f"{key}.index", options.index, ["kind", *allowed], owner=f"an index of kind {options.index.kind}")
    least = {name: Natural if name == "seed" else Positive for name in allowed}
    check_values(
        f"{key}.index",
        options.index,
        {name: kind if allowed[name] is not None else kind | None for name, kind in least.items()},
    )
