"""Numbers that have bounds, as types: `k1: Positive` says in a signature what a configuration may give there."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class AtLeast:
    """The least value of a number."""

    least: float

    def __contains__(self, value: float) -> bool:
        return value >= self.least

    def __str__(self) -> str:
        return f"at least {self.least}"


@dataclass(frozen=True)
class Above:
    """A limit that a number must be greater than."""

    limit: float

    def __contains__(self, value: float) -> bool:
        return value > self.limit

    def __str__(self) -> str:
        return f"more than {self.limit}"


@dataclass(frozen=True)
class Between:
    """The least and the greatest value of a number."""

    least: float
    most: float

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"a number from {self.least} to {self.most}"


Positive = Annotated[int, AtLeast(1)]
Natural = Annotated[int, AtLeast(0)]
Share = Annotated[float, Between(0, 1)]
AboveZero = Annotated[float, Above(0)]
NotNegative = Annotated[float, AtLeast(0)]
