"""Trained on A, tested on B."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from src.evaluation import evaluation_run
from src.runs.transfer import Cell, DataToTest, Model, find_models, find_test_set, images_per_second, measure_cells
from src.runs.transfer_table import transfer_table, write_transfer
from src.runtime.console import console
from src.runtime.errors import ConfigError


@pytest.fixture
def report(composed, quickstart, quickstart_veri, tmp_path):
    """Runs the report on two small data sets, and one whose images do not say day from night."""

    def run(*checkpoints, test_on=None):
        sets = test_on or [f"quickstart data.root={quickstart}", f"quickstart_veri data.root={quickstart_veri}"]
        named = ",".join(f'"{one}"' for one in sets)
        cfg = composed(
            *(f"checkpoints=[{','.join(map(str, checkpoints))}]", f"test_on=[{named}]", f"cells={tmp_path}/cells"),
            *("device=cpu", f"paths.run_dir={tmp_path}/report"),
            config="report",
        )
        return write_transfer(cfg, console(None, width=200))

    return run


def test_every_checkpoint_on_every_data_set_and_a_reason_where_it_cannot_be(report, untrained, tmp_path, monkeypatch):
    dndm = untrained("method=dndm", "data=quickstart").rename(tmp_path / "dndm.ckpt")
    bot = untrained("method=bot").rename(tmp_path / "bot.ckpt")
    broken, missing = tmp_path / "broken.ckpt", tmp_path / "missing.ckpt"
    torch.save({"state_dict": {}}, broken)
    table = report(bot, dndm, broken, missing)
    assert table.columns[:5] == ("trained on", "checkpoint", "MB", "dimensions", "images/s")
    tasks = [name.split()[1] for name in table.columns[5:]]
    assert tasks == ["day_to_night", "night_to_day", "image_to_image", "image_to_track"]
    rows = {row[1].split("/")[-1]: row for row in table.rows}
    assert rows["bot.ckpt"][0] == "cars"
    assert float(rows["bot.ckpt"][2]) == pytest.approx(bot.stat().st_size / 1e6, abs=0.05)
    for cell in rows["bot.ckpt"][5:]:
        mean, first = map(float, cell.split(" / "))
        assert 0 < mean < 1
        assert 0 <= first <= 1
    assert all("/" in cell for cell in rows["dndm.ckpt"][5:7])
    assert float(rows["bot.ckpt"][4].replace(",", "")) > 0
    for name, reason in (
        ("dndm.ckpt", "must know day from night"),
        ("broken.ckpt", "no checkpoint of this project"),
        ("missing.ckpt", "No checkpoint at"),
    ):
        mark = rows[name][7].removeprefix("– ")
        (note,) = [note for note in table.notes if note.startswith(mark)]
        assert reason in note
    assert any(
        "day_to_night: day query → night gallery, ignored: none, standard AP; 168 queries, 168 in" in note
        for note in table.notes
    )
    written = pd.read_csv(tmp_path / "report/transfer.csv")
    assert set(written["checkpoint"].map(lambda path: Path(path).name)) == {
        *("bot.ckpt", "dndm.ckpt", "broken.ckpt", "missing.ckpt")
    }
    assert (tmp_path / "report/report.html").stat().st_size > 1000

    # Once is enough: the same weights and data are not measured again, under whatever name.
    def never(cfg):
        raise AssertionError(cfg.checkpoint)

    monkeypatch.setattr(evaluation_run, "run", never)
    again = report(bot.rename(tmp_path / "other.ckpt"), dndm)
    assert [row[5:7] for row in again.rows] == [rows["bot.ckpt"][5:7], rows["dndm.ckpt"][5:7]]


def test_data_sets_that_cannot_be_read_are_empty_columns(report, untrained, tmp_path):
    table = report(untrained("method=bot"), test_on=[f"csv data.root={tmp_path}/nowhere", "no_such_set"])
    assert table.columns[5:] == ("csv", "no_such_set")
    assert table.rows[0][5:] == ("– [1]", "– [2]")
    assert "nowhere" in "\n".join(table.notes)


def test_a_reason_that_is_the_data_sets_is_said_once(tmp_path):
    models = [Model(tmp_path / name, "cars", name, 1.0) for name in ("a.ckpt", "b.ckpt")]
    test = DataToTest("gone", reason="it is not there")
    table = transfer_table(models, [test], measure_cells(models, [test], tmp_path), {})
    assert [row[5] for row in table.rows] == ["– [1]", "– [1]"]
    assert table.notes[-1] == "[1] gone: it is not there"


def test_one_data_set_measured_in_two_ways_is_two_columns_with_cells_of_their_own(
    report, untrained, quickstart_veri, tmp_path
):
    plain = f"quickstart_veri data.root={quickstart_veri}"
    flipped = f"{plain} retrieval.flip=true"
    table = report(untrained("method=bot"), test_on=[plain, flipped])
    tasks = ("image_to_image", "image_to_track")
    assert table.columns[5:] == tuple(f"{test} {task}" for test in (plain, flipped) for task in tasks)
    assert len(list((tmp_path / "cells").iterdir())) == 2
    written = pd.read_csv(tmp_path / "report/transfer.csv")
    assert written["mAP"].nunique() == 4  # an untrained network is no mirror of itself


def test_both_are_needed_and_nothing_beside(report, composed):
    with pytest.raises(ConfigError, match=r"needs checkpoints=.* and test_on="):
        write_transfer(composed("checkpoints=[a.ckpt]", config="report"))
    with pytest.raises(ConfigError, match=r"needs checkpoints=.* and test_on="):
        write_transfer(composed("checkpoints=[a.ckpt]", "test_on=[csv]", "run=outputs/a", config="report"))


def test_checkpoints_are_found_in_runs_and_by_patterns(tmp_path):
    for run in ("a", "b"):
        folder = tmp_path / "runs" / run
        (folder / "stages/main").mkdir(parents=True)
        (folder / "stages/main/last.ckpt").write_bytes(b"x")
        (folder / "metrics.json").write_text("{}")
    both = [tmp_path / "runs" / run / "stages/main/last.ckpt" for run in ("a", "b")]
    for given in (["runs"], ["runs/*"], ["runs/*/stages/main/last.ckpt"], ["runs/a", "runs/b", "runs/a"]):
        assert [model.path for model in find_models([f"{tmp_path}/{one}" for one in given])] == both
    (gone,) = find_models([f"{tmp_path}/gone.ckpt"])
    assert "No checkpoint at" in gone.reason
    assert find_models([f"{tmp_path}/runs/a"])[0].reason


def test_speeds_are_of_what_can_be_read(untrained, tmp_path):
    model = find_models([str(untrained("method=bot"))])[0]
    speeds = images_per_second([model, Model(tmp_path / "a.ckpt", reason="gone")], "cpu")
    assert speeds.keys() == {model.path}
    assert speeds[model.path] > 0
    table = transfer_table([model], [], {}, {})
    assert table.rows[0][4] == "–"
    assert math.isfinite(model.megabytes)
    assert Cell().reason == ""
    assert find_test_set("nothing").reason
