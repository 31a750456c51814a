"""`~` in paths."""

import json

import pytest
from omegaconf import OmegaConf

from src.runtime.home_folder import expand_home, expanded


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_only_what_begins_with_it_is_expanded(home):
    cfg = OmegaConf.create(
        {
            "root": "~/cars",
            "all": "~",
            "list": ["~/a.jpg", {"deep": "~/b"}],
            "other": ["a~/b", "~x/y", 3, None, True, "x"],
            "below": "${root}/train",
            "twin": "${list}",
            "variable": "${oc.env:CARS}",
            "broken": "${nothing}",
            "needed": "???",
        }
    )
    OmegaConf.set_struct(cfg, True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CARS", "~/variable")
        expand_home(cfg)
    assert cfg.root == f"{home}/cars"
    assert cfg.all == str(home)
    assert cfg.list == [f"{home}/a.jpg", {"deep": f"{home}/b"}]
    assert cfg.other == ["a~/b", "~x/y", 3, None, True, "x"]
    assert cfg.below == f"{home}/cars/train"
    assert cfg.twin == cfg.list
    assert cfg.variable == f"{home}/variable"
    assert OmegaConf.is_missing(cfg, "needed")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("root=~/cars", "root=HOME/cars"),
        ("root=~", "root=HOME"),
        ("query=[~/a.jpg,~/b.jpg]", "query=[HOME/a.jpg,HOME/b.jpg]"),
        ("query=['~/a b.jpg']", "query=['HOME/a b.jpg']"),
        (
            "data.sources={veri776: {root: ~/veri}, csv: {root: ~}}",
            "data.sources={veri776: {root: HOME/veri}, csv: {root: HOME}}",
        ),
        ("+a=~/x", "+a=HOME/x"),
        ("~logger", "~logger"),
        ("~logger=csv", "~logger=csv"),
        ("--multirun", "--multirun"),
        ("~/x", "~/x"),
        ("a=b~/c", "a=b~/c"),
        ("a=~user/c", "a=~user/c"),
        ("a=x~", "a=x~"),
    ],
)
def test_arguments_are_expanded_where_a_value_begins(home, given, meant):
    assert expanded([given]) == [meant.replace("HOME", str(home))]


def test_commands_read_and_write_there(command, home, tmp_path):
    (home / "cars").mkdir()
    (home / "cars" / "table.csv").write_text("path,vehicle_id,split\na.jpg,1,test\nb.jpg,1,test\n")
    options = ("data=csv", "data.root=~/cars", "data.images=false")
    done = command("src.check_data", *options, "report=~/found.json", "hydra.run.dir=~/runs/check")
    assert done.returncode == 0, done.stderr
    assert json.loads((home / "found.json").read_text())["ok"]
    assert (home / "runs/check").is_dir()
    done = command("src.check_data", *options, "paths.output_dir=~/out")
    assert done.returncode == 0, done.stderr
    assert [*home.glob("out/check_data/*/check.json")]
    assert not (tmp_path / "~").exists()
