"""Values of a configuration against the types of a signature."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from omegaconf import OmegaConf
from torch import Tensor

from src.config.values import check_values, fitted
from src.runtime.errors import ConfigError
from src.runtime.ranges import AboveZero, AtLeast, Natural, Positive, Share

Metric = Literal["euclidean", "squared", "cosine", "angle"]


@pytest.mark.parametrize(
    ("value", "kind", "meant"),
    [
        *((word, bool, True) for word in ("yes", "on", "true", "Yes", "ON", 1, True)),
        *((word, bool, False) for word in ("no", "off", "false", "No", 0, False)),
        ("no", bool | None, False),
        (None, bool | None, None),
        ("no", bool | str, "no"),
        ("all", Literal["all"] | bool, "all"),
        ("yes", Literal["all"] | bool, True),
        (3.0, int, 3),
        (3, float, 3),
        (3, int | str, 3),
        (17, str, "17"),
        (17, Path | str | None, "17"),
        ("k_reciprocal", Sequence[str], ["k_reciprocal"]),
        (["a", 3], Sequence[str], ["a", "3"]),
        (1, Sequence[float] | None, [1]),
        ("a", str | Sequence[str], "a"),
        (["a"], str | Sequence[str], ["a"]),
        (32, int | tuple[int, int], 32),
        ([32, 48], int | tuple[int, int], [32, 48]),
        ((), tuple[int, ...], None),
        (0, Natural, 0),
        (0.5, Share | None, 0.5),
        ("cosine", Metric, "cosine"),
        ("x", Callable[[int], int], "x"),
        (0.1, float | Tensor, 0.1),
        ({"a": 1}, bool, {"a": 1}),
        ("anything", Any, "anything"),
        (2.5, Any, 2.5),
    ],
)
def test_what_is_meant_is_taken(value, kind, meant):
    if value == ():
        value, meant = [], []
    found = fitted("key", value, kind)
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("maybe", bool, "key is 'maybe', expected true or false."),
        ("maybe", bool | None, "key is 'maybe', expected true or false or null."),
        (2, bool, "key is 2, expected true or false."),
        ("fast", float | Tensor, "key is 'fast', expected a number."),
        (1.5, int, "key is 1.5, expected a whole number."),
        (True, int, "key is true, expected a whole number."),
        (None, int, "key is null, expected a whole number."),
        (None, str, "key is null, expected text."),
        (True, str | None, "key is true, expected text or null."),
        ("cos", Metric, "key is 'cos', expected euclidean, squared, cosine or angle; did you mean 'cosine'?"),
        (3, Metric, "key is 3, expected euclidean, squared, cosine or angle."),
        ([32], int | tuple[int, int], "key is [32], expected a whole number or 2 values, each a whole number."),
        (None, Sequence[str], "key is null, expected a list, each text."),
        ([1, "a"], Sequence[float] | None, "key is [1, 'a'], expected a list, each a number or null."),
        ("one", Mapping[str, int] | int, "key is 'one', expected a whole number."),
        (0, Positive, "key is 0, expected at least 1."),
        (-1, Natural | None, "key is -1, expected at least 0."),
        ([1, 0], Sequence[AboveZero], "key is [1, 0], expected more than 0."),
        (1.5, Share, "key is 1.5, expected a number from 0 to 1."),
        ("x", Positive, "key is 'x', expected a whole number."),
        (1, Annotated[int, AtLeast(2)], "key is 1, expected at least 2."),
    ],
)
def test_what_cannot_be_meant_is_refused(value, kind, said):
    with pytest.raises(ConfigError) as error:
        fitted("key", value, kind)
    assert str(error.value) == said


def test_a_node_holds_what_is_meant_afterwards_and_interpolations_are_left_alone():
    node = OmegaConf.create({"flip": "no", "steps": "a", "epochs": "${flip}", "open": "???", "more": "x"})
    check_values("retrieval", node, {"flip": bool, "steps": Sequence[str], "epochs": int, "open": int, "absent": int})
    assert node.flip is False
    assert node.steps == ["a"]
    assert OmegaConf.is_interpolation(node, "epochs")
    with pytest.raises(ConfigError, match=r"^retrieval\.more is 'x', expected a whole number\.$"):
        check_values("retrieval", node, {"more": int})
