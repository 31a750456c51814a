from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.data.protocols import Protocol
from src.evaluation.metrics_record import TaskRecord
from src.retrieval import DataVersion
from src.runs.comparison import ABSENT, compare, describe
from src.runs.finished import Measurement

PROTOCOL = Protocol("a", "day → night", "same_camera")


def measured(
    value,
    seed=0,
    task="a",
    weights=None,
    git="abc",
    versions=None,
    data=("cars", "f" * 16),
    protocol=PROTOCOL,
    **settings,
):
    return Measurement(
        folder=Path(f"run_{value}"),
        task=task,
        settings={"data": data[0], "features": "trained"} | {key.replace("__", "."): v for key, v in settings.items()},
        seed=seed,
        weights=str(value) if weights is None else weights,
        result=TaskRecord(
            mAP=value,
            mINP=value / 2,
            rank={1: value / 3, 5: value / 4, 10: value / 5, 20: value / 6},
            queries=7,
            gallery=9,
            protocol=protocol,
        ),
        data=DataVersion(*data),
        git=git,
        versions={"torch": "2"} | (versions or {}),
    )


def test_seeds_are_averaged_with_their_sample_standard_deviation():
    rng = np.random.default_rng(0)
    values = {0.1: rng.random(3), 0.2: rng.random(3)}
    runs = [
        measured(value, seed, task, method__alpha=alpha)
        for alpha in (0.2, 0.1)
        for seed, value in enumerate(values[alpha])
        for task in ("b", "a")
    ]
    found = compare(runs)
    assert [(parameter.name, parameter.values, parameter.numeric) for parameter in found.parameters] == [
        ("method.alpha", (0.1, 0.2), True)
    ]
    assert [(row.values["method.alpha"], row.task) for row in found.rows] == [
        *((0.1, "b"), (0.1, "a")),
        *((0.2, "b"), (0.2, "a")),
    ]
    for row in found.rows:
        expected = values[row.values["method.alpha"]]
        for measure, share in (("mAP", 1), ("mINP", 2), ("R1", 3), ("R5", 4), ("R10", 5), ("R20", 6)):
            assert row.mean[measure] == pytest.approx(expected.mean() / share)
            assert row.std[measure] == pytest.approx(expected.std(ddof=1) / share)
        assert row.seeds == (0, 1, 2)
    assert found.notes == ()


def test_one_run_has_no_deviation_and_the_same_weights_count_once():
    (row,) = compare([measured(0.5), measured(0.7, weights="0.5")]).rows
    assert row.mean["mAP"] == 0.5
    assert row.std == {}
    assert row.seeds == (0,)


def test_settings_that_change_together_are_one_parameter_with_the_shortest_name():
    runs = [
        measured(0.1, stages__main__epochs=8, epochs=8, method__kind="z", method__only=1, method__flag=True),
        measured(0.2, stages__main__epochs=9, epochs=9, method__kind="y", method__flag=True),
        measured(0.3, stages__main__epochs=9, epochs=9, method__kind="x", method__flag=True),
    ]
    found = compare(runs).parameters
    assert [parameter.name for parameter in found] == ["epochs", "method.kind"]
    # method.only parts the runs in the same way, but does not vary where it is.
    assert found[0].keys == ("epochs", "stages.main.epochs")
    assert found[1].values == ("z", "y", "x")
    assert not found[1].numeric


def test_what_some_runs_lack_comes_last_and_numbers_compare_as_numbers():
    runs = [measured(0.1), measured(0.2, omega=1), measured(0.3, omega=0.5), measured(0.4, omega=1.0)]
    found = compare(runs)
    assert found.parameters[0].values == (0.5, 1, ABSENT)
    assert found.parameters[0].numeric
    assert [len(row.seeds) for row in found.rows] == [1, 2, 1]


def test_booleans_and_lists_are_no_axis():
    runs = [measured(0.1, glare=True, stages=[1]), measured(0.2, glare=False, stages=[1, 2]), measured(0.3, glare=True)]
    assert not any(parameter.numeric for parameter in compare(runs).parameters)


def test_data_sets_of_one_name_are_told_apart_by_their_fingerprints():
    found = compare([measured(0.1), measured(0.2, data=("cars", "e" * 16)), measured(0.3, data=("bikes", "d" * 16))])
    assert [row.values["data"] for row in found.rows] == ["cars ffffffff", "cars eeeeeeee", "bikes"]
    assert found.notes == (f"Data differ: cars has the fingerprints {'f' * 16}, {'e' * 16}.",)


def test_every_other_difference_is_said_in_one_sentence():
    drawn = replace(PROTOCOL, ap="trapezoid", trials=10, seed=7)
    other = measured(0.2, git=None, versions={"torch": "3"}, protocol=drawn)
    notes = compare([measured(0.1), other, measured(0.3, task="b")]).notes
    assert notes == (
        "Protocols differ: a is day → night, ignored: same camera, standard AP or day → night, ignored: same camera, "
        "trapezoid AP, 10 trials drawn with seed 7.",
        "Revisions of the code differ: abc, None.",
        "Library versions differ: torch 2 and 3.",
    )
    assert describe(PROTOCOL) == "day → night, ignored: same camera, standard AP"
