"""Runs side by side: what differs between them, and what they measured on average."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from src.data.protocols import Protocol
from src.runs.finished import Measurement

#: The value of a setting that a run does not have.
ABSENT = "–"
MEASURES = ("mAP", "R1", "R5", "R10", "R20", "mINP")


@dataclass(frozen=True)
class Parameter:
    """Setting that differs between runs.

    Attributes:
        name: The setting that stands for all below.
        keys: Settings that change together with it, with it first.
        values: Of the runs: numbers ascending, all else as first met; last `ABSENT`, if some runs lack it.
    """

    name: str
    keys: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def numeric(self) -> bool:
        """Whether it can be the axis of a curve."""
        present = [value for value in self.values if value != ABSENT]
        return len(present) > 1 and all(_is_number(value) for value in present)


@dataclass(frozen=True)
class Row:
    """Runs that differ in nothing but their seed, in one task.

    Attributes:
        task: Name of the task.
        values: Of the parameters, by name.
        settings: All settings, of the first run.
        seeds: One a run.
        mean: By measure.
        std: Sample standard deviation over the runs; empty for a single one.
    """

    task: str
    values: dict[str, Any]
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    mean: dict[str, float]
    std: dict[str, float]

    @property
    def from_scratch(self) -> bool:
        """Whether the backbone started from random weights, which numbers of pretrained ones do not compare with."""
        loads = [value for key, value in self.settings.items() if key.startswith("stages.") and key.endswith(".load")]
        return self.settings.get("backbone.weights", "unknown") is None and not set(loads) - {"previous", None}


@dataclass(frozen=True)
class Comparison:
    """Differences between runs, and a row for each combination and task."""

    parameters: tuple[Parameter, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def compare(measurements: Sequence[Measurement]) -> Comparison:
    """Groups measurements that differ in nothing but the seed; the same weights with the same settings count once.

    Args:
        measurements: Of all runs.

    Returns:
        The rows, ordered by the parameters and the tasks, with a note for every way in which they do not compare.
    """
    settings = _with_fingerprints(measurements)
    parameters = _varying(settings)
    groups: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for place, measurement in enumerate(measurements):
        values = (_hashable(settings[place].get(parameter.name, ABSENT)) for parameter in parameters)
        groups[(measurement.task, *values)].setdefault(measurement.weights, place)
    rows = [
        _row([measurements[place] for place in places.values()], settings[next(iter(places.values()))], parameters)
        for places in groups.values()
    ]
    tasks = list(dict.fromkeys(measurement.task for measurement in measurements))
    order = {p.name: {_hashable(value): place for place, value in enumerate(p.values)} for p in parameters}
    rows.sort(
        key=lambda row: (*(order[name][_hashable(v)] for name, v in row.values.items()), tasks.index(row.task)),
    )
    return Comparison(tuple(parameters), tuple(rows), tuple(_notes(measurements)))


def _with_fingerprints(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The settings; where two data sets share their name, it is followed by the fingerprint."""
    fingerprints: dict[str, set[str]] = defaultdict(set)
    for measurement in measurements:
        fingerprints[measurement.data.name].add(measurement.data.fingerprint)
    return [
        m.settings | {"data": f"{m.data.name} {m.data.fingerprint[:8]}"}
        if len(fingerprints[m.data.name]) > 1
        else m.settings
        for m in measurements
    ]


def _varying(settings: Sequence[dict[str, Any]]) -> list[Parameter]:
    """The settings that differ; those that part the runs in the same way are one parameter."""
    same: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for key in dict.fromkeys(key for one in settings for key in one):
        numbers: dict[str, int] = {}
        values = [_hashable(one.get(key, ABSENT)) for one in settings]
        parts = tuple(numbers.setdefault(value, len(numbers)) for value in values)
        if len(numbers) > 1:
            same[parts].append(key)
    parameters = []
    for keys in same.values():
        name, *others = sorted(keys, key=lambda key: key.count("."))  # the shortest is the one that a user writes
        values = _distinct(settings, name)
        # A setting that some runs have with one value, and others lack, is not what varies.
        others = [key for key in others if sum(value != ABSENT for value in _distinct(settings, key)) > 1]
        parameters.append(Parameter(name, (name, *others), tuple(sorted(values, key=_ascending))))
    return parameters


def _distinct(settings: Sequence[dict[str, Any]], key: str) -> list[Any]:
    return list({_hashable(value): value for value in (one.get(key, ABSENT) for one in settings)}.values())


def _ascending(value: Any) -> tuple[bool, float]:
    """Numbers ascending; all else stays in its order, with what is absent at the end."""
    return value == ABSENT, value if _is_number(value) else -math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hashable(value: Any) -> str:
    return json.dumps(float(value) if _is_number(value) else value, sort_keys=True)


def _row(members: Sequence[Measurement], settings: dict[str, Any], parameters: Iterable[Parameter]) -> Row:
    numbers = {measure: [member.result.of(measure) for member in members] for measure in MEASURES}
    return Row(
        task=members[0].task,
        values={parameter.name: settings.get(parameter.name, ABSENT) for parameter in parameters},
        settings=settings,
        seeds=tuple(sorted(member.seed for member in members)),
        mean={measure: statistics.fmean(values) for measure, values in numbers.items()},
        std={m: statistics.stdev(values) for m, values in numbers.items() if len(values) > 1},
    )


def _notes(measurements: Sequence[Measurement]) -> Iterable[str]:
    """One sentence for everything that should be equal among runs of one table, and is not."""
    prints: dict[str, dict[str, None]] = defaultdict(dict)
    protocols: dict[str, dict[str, None]] = defaultdict(dict)
    versions: dict[str, dict[str, None]] = defaultdict(dict)
    for measurement in measurements:
        prints[measurement.data.name][measurement.data.fingerprint] = None
        protocols[measurement.task][describe(measurement.result.protocol)] = None
        for package, version in measurement.versions.items():
            versions[package][str(version)] = None
    for name, fingerprints in prints.items():
        if len(fingerprints) > 1:
            yield f"Data differ: {name} has the fingerprints {', '.join(fingerprints)}."
    for task, rules in protocols.items():
        if len(rules) > 1:
            yield f"Protocols differ: {task} is {' or '.join(rules)}."
    revisions = dict.fromkeys(str(measurement.git) for measurement in measurements)
    if len(revisions) > 1:
        yield f"Revisions of the code differ: {', '.join(revisions)}."
    differing = [f"{package} {' and '.join(many)}" for package, many in versions.items() if len(many) > 1]
    if differing:
        yield f"Library versions differ: {', '.join(differing)}."


def describe(protocol: Protocol) -> str:
    """The rules of a task as a phrase."""
    drawn = "" if protocol.seed is None else f", {protocol.trials} trials drawn with seed {protocol.seed}"
    return f"{protocol.direction}, ignored: {protocol.ignore.replace('_', ' ')}, {protocol.ap} AP{drawn}"
