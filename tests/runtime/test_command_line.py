"""Paths and names on the command line, whatever is in them."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.runtime.command_line import quoted, without


def meant(argument):
    override = OverridesParser.create().parse_override(quoted([argument])[0])
    return override.value()


@pytest.mark.parametrize("key", ["query", "data.root", "+data.sources.veri776.root", "out", "hydra.run.dir", "resume"])
@pytest.mark.parametrize(
    "value",
    [
        *("17", "776", "1_2", "1e5", "007", "true", "inf", "-3"),
        *("my car.jpg", "car (2).jpg", "car [2].jpg", "a=b.jpg", "l'auto.jpg", 'the "car".jpg', "Fahrräder/ä.jpg"),
        *("{x}", "x:y", "a\\", "it\\'s", "#1", "50 %", "汽车.png", "plain.jpg", "/a/b-c_d.e", "a;b", "x'", "'x"),
    ],
)
def test_a_value_of_a_path_is_the_text_it_is(key, value):
    assert meant(f"{key}={value}") == value


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("query=[a.jpg,b.jpg]", ["a.jpg", "b.jpg"]),
        ("query='my car.jpg'", "my car.jpg"),
        ('query="my car.jpg"', "my car.jpg"),
        ("images=null", None),
        ("checkpoints=[]", []),
        ("checkpoint=${oc.env:HOME}/x", "${oc.env:HOME}/x"),
        ("top=17", 17),
        ("retrieval.flip=true", True),
        ("sampler={a: 1}", {"a": 1}),
    ],
)
def test_lists_quotes_interpolations_and_other_keys_are_hydras(argument, value):
    assert meant(argument) == value


def test_values_of_a_sweep_stay_apart_unless_there_is_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argument in ("embeddings=one,two", "data.root=/a,/b", "--multirun", "sweep=alpha", "query=[1]", "method=bot"):
        assert quoted([argument]) == [argument]
    Path("one,two").touch()
    Path("[1]").touch()
    assert meant("embeddings=one,two") == "one,two"
    assert meant("query=[1]") == "[1]"


def test_a_group_that_is_null_is_left_away():
    given = ["logger=null", "images=null", "logger=csv", "~logger", "+debug=null"]
    assert without(given, {"logger", "debug"}) == ["~logger", "images=null", "logger=csv", "~logger", "+debug=null"]


def test_quoting_twice_is_quoting_once():
    once = quoted(["query=it's [1].jpg", "data.root=17", "out=x'"])
    assert quoted(once) == once


def test_folders_named_by_numbers_are_those_folders(command, quickstart, tmp_path):
    (tmp_path / "1_2").symlink_to(quickstart)
    done = command("src.check_data", "data=dn_348", "data.root=1_2", "hydra.run.dir=17")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "17" / "check.json").is_file()
