import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from src.runtime.json_files import as_plain, record_of, write_json


@dataclass(frozen=True)
class Wheel:
    size: float
    by: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Car:
    name: str
    wheels: tuple[Wheel, ...] = ()
    spare: Wheel | None = None
    weight: float | None = None
    more: dict[str, Any] = field(default_factory=dict)


def test_a_record_comes_back_from_its_file(tmp_path):
    car = Car("a", (Wheel(1.5, {2: 0.25}), Wheel(np.float64(1 / 3))), Wheel(2), 3.5, {"list": [1, "x", None]})
    write_json(tmp_path / "deep" / "car.json", car)
    assert record_of(Car, json.loads((tmp_path / "deep" / "car.json").read_text())) == car
    assert record_of(Car, as_plain(car)) == car


def test_what_is_not_known_is_null_and_never_nan(tmp_path):
    write_json(tmp_path / "car.json", Car("a", (Wheel(math.nan, {1: math.nan}),), more={"far": -math.inf}))
    text = (tmp_path / "car.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    found = record_of(Car, json.loads(text))
    assert math.isnan(found.wheels[0].size)
    assert math.isnan(found.wheels[0].by[1])
    assert found.weight is None
    assert found.more == {"far": "-inf"}


def test_defaults_fill_in_and_foreign_keys_are_left_alone():
    assert record_of(Car, {"name": "a", "colour": "red"}) == Car("a")
    with pytest.raises(ValueError, match="'name' is missing in colour, spare"):
        record_of(Car, {"colour": "red", "spare": None})


def test_what_is_no_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"new": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
