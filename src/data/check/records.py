"""Records of a check of a data set: sizes, findings, and a report of both."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from src.data.check.day_and_night import Balance
from src.data.check.expected import Counts


@dataclass(frozen=True)
class Side:
    """Size of a side of a data set.

    Attributes:
        dataset: Name of the data set.
        name: train, query or gallery; an image that is both query and gallery counts in both.
        found: Its sizes.
        expected: Those of the data set as published, None if unknown.
        balance: How it is divided between day and night, None if nothing says.
    """

    dataset: str
    name: str
    found: Counts
    expected: Counts | None
    balance: Balance | None = None


@dataclass(frozen=True)
class Finding:
    """Something about a data set that its user should know.

    Attributes:
        name: Which kind of finding.
        problem: Whether training or testing would fail or give wrong numbers; if not, it is a warning.
        sentence: What was found and what to do.
        items: All files, vehicles, … it is about.
    """

    name: str
    problem: bool
    sentence: str
    items: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """Finding of a check.

    Attributes:
        name: Name of the data set.
        sides: Sizes of its sides.
        findings: What its user should know.
        images_a_class: Name of each data set with training images → how many of them each of its vehicles has,
            ascending.
    """

    name: str
    sides: Sequence[Side]
    findings: Sequence[Finding]
    images_a_class: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there are no problems; there may be warnings."""
        return not any(finding.problem for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        sides = [
            {
                "dataset": side.dataset,
                "side": side.name,
                "found": side.found._asdict(),
                "expected": side.expected._asdict() if side.expected else None,
                "balance": asdict(side.balance) | {"proportion": side.balance.proportion} if side.balance else None,
            }
            for side in self.sides
        ]
        return {
            "schema": 1,
            "data": self.name,
            "ok": self.ok,
            "sides": sides,
            "findings": [asdict(finding) for finding in self.findings],
            "images_a_class": self.images_a_class,
        }


def findings_of(items: Sequence[str], name: str, sentence: str, problem: bool = True, total: int = 0) -> list[Finding]:
    """A finding about items, or none if there are none of them.

    Args:
        items: What it is about.
        name: Which kind of finding.
        sentence: What to say; `{count}` and `{total}` are filled in.
        problem: Whether training or testing would fail or give wrong numbers.
        total: Of how many.
    """
    if not items:
        return []
    return [Finding(name, problem, sentence.format(count=f"{len(items):,}", total=f"{total:,}"), items)]
