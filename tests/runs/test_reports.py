import base64
import io
import json
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from rich.console import Console

from src.figures.style import GREY
from src.runs.reports import write_report
from src.runtime.errors import ConfigError

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Tables as lists of rows of cells, pictures, and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.images, self.classes, self.said = [], [], [], [], []
        self.links = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [value for key, value in attrs.items() if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
            self.classes.append([])
        elif tag == "tr":
            self.tables[-1].append([])
            self.classes[-1].append(attrs.get("class"))
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "img":
            self.images.append(attrs["src"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def write(folder, value, seed, tasks=("day_to_night", "night_to_day"), fingerprint="f" * 16, **method):
    folder.mkdir(parents=True)
    result = {
        "mAP": value,
        "mINP": value / 2,
        "rank": {"1": value + 0.1, "5": value + 0.2, "10": value + 0.3, "20": value + 0.4},
        "queries": 1200,
        "gallery": 34,
        "protocol": {"name": "a", "direction": "a <→> b", "ignore": "none", "ap": "standard"},
    }
    stages = {"glare": True, "structure_stages": [1, 2, 3, 4], "awareness_stages": [1, 2, 3, 4]}
    config = {
        "method": {"_target_": "src.methods.dndm.DNDM", "alpha": 0.5, "beta": 0.25} | stages | method,
        "retrieval": {"steps": []},
    }
    metrics = {
        "schema": 1,
        "tasks": dict.fromkeys(tasks, result),
        "git": "abc",
        "versions": {"torch": "2.6"},
        "seed": seed,
        "checkpoint_sha": str(folder),
        "data": {"name": "cars & <bikes>", "fingerprint": fingerprint},
        "config": config,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))


def report(tmp_path, *runs, table=None):
    """What was printed, the page, the CSV and the folder."""
    out = io.StringIO()
    write_report([str(tmp_path / run) for run in runs], table, tmp_path / "report", Console(file=out))
    folder = tmp_path / "report"
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    return out.getvalue(), page, pd.read_csv(folder / "report.csv"), folder


def grey(path):
    wanted = np.round(np.array(colors.to_rgb(GREY)) * 255).astype(int)[::-1]
    return int((np.abs(cv2.imread(str(path)).astype(int) - wanted) <= 2).all(axis=2).sum())


@pytest.fixture
def sweep(tmp_path):
    """α with two seeds each, as a sweep lies on disk, and one run that was killed."""
    for number, (alpha, seed) in enumerate((alpha, seed) for alpha in (0.2, 0.5, 0.55) for seed in (0, 1)):
        write(tmp_path / "sweep" / str(number), alpha / 2 + 0.02 * seed, seed, alpha=alpha)
    (tmp_path / "sweep" / "6").mkdir()
    (tmp_path / "sweep" / "6" / "train.log").touch()
    return tmp_path


def test_a_sweep_stands_beside_the_published_table_on_one_page(sweep):
    printed, page, _, folder = report(sweep, "sweep")
    ours, published = page.tables
    assert ours[0] == ["alpha", "task", "mAP", "R1", "R5", "mINP", "seeds"]
    assert ours[1] == [
        *("0.2", "day_to_night"),
        *("0.110 ± 0.014", "0.210 ± 0.014", "0.310 ± 0.014", "0.055 ± 0.007", "0, 1"),
    ]
    assert [row[0] for row in ours[1:]] == ["0.2", "0.2", "0.5", "0.5", "0.55", "0.55"]

    assert published[0] == ["row", "from", "data", "task", "R1", "mAP", "seeds"]
    assert published[1] == ["0.2", "published", "dn_348", "day_to_night", "0.694", "0.468", ""]
    assert published[2][:4] == ["0.2", "ours", "cars & <bikes>", "day_to_night"]
    assert published[-1][:2] == ["–", "ours, alpha=0.55"]
    assert [row[1] for row in published].count("published") == 6
    assert {row[3] for row in published[1:]} == {"day_to_night"}
    marked = [row[1] == "published" for row in published[1:]]
    assert [kind == "published" for kind in page.classes[1][1:]] == marked
    assert page.classes[0][1:] == ["ours"] * 6

    assert len(page.images) == 4
    assert all(link.startswith("data:") for link in page.links)
    for image in page.images:
        head, _, data = image.partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert {path.name for path in folder.glob("figures/*")} == {
        f"curve_{task}_{measure}.png" for task in ("day_to_night", "night_to_day") for measure in ("mAP", "R1")
    }
    said = " ".join(page.said)
    for part in (
        *("Fig. 4, left", "Influence of α", "fingerprint ffffffffffffffff", "torch 2.6", "Code: abc"),
        *("day_to_night: a <→> b, ignored: none, standard AP; 1,200 queries, 34 in the gallery", "6: skipped"),
    ):
        assert part in said
    for part in ("0.110 ± 0.014", "published", "ours, alpha=0.55", "sweep/6: it has no metrics.json", "report.html"):
        assert part in printed


def test_the_published_curve_is_in_the_picture_of_its_task_only(sweep):
    _, _, _, folder = report(sweep, "sweep")
    drawn = {path.stem: grey(path) for path in folder.glob("figures/*.png")}
    assert drawn["curve_day_to_night_mAP"] > 10 * max(1, drawn["curve_night_to_day_mAP"])
    assert drawn["curve_day_to_night_R1"] > 10 * max(1, drawn["curve_night_to_day_R1"])


def test_the_csv_has_all_numbers_and_where_they_are_from(sweep):
    _, _, found, _ = report(sweep, "sweep")
    ours, published = found[found["from"] == "ours"], found[found["from"] != "ours"]
    assert list(ours["method.alpha"]) == [0.2, 0.2, 0.5, 0.5, 0.55, 0.55]
    np.testing.assert_allclose(ours["mAP"], np.repeat([0.11, 0.26, 0.285], 2))
    np.testing.assert_allclose(ours["R20_std"], np.std([0, 0.02], ddof=1))
    assert set(published["from"]) == {"published: Li et al., DNDM, CVPR 2024, Fig. 4, left"}
    assert list(published["mAP"]) == [0.468, 0.472, 0.473, 0.475, 0.469, 0.469]


def test_a_second_number_tells_the_curves_apart_and_no_number_draws_none(tmp_path):
    for number, (alpha, beta) in enumerate((a, b) for a in (0.2, 0.5, 0.7) for b in (0.1, 0.25)):
        write(tmp_path / "grid" / str(number), alpha, 0, alpha=alpha, beta=beta)
    printed, page, _, folder = report(tmp_path, "grid")
    assert len(page.tables) == 3
    assert "(dndm_fig4_alpha)" in printed
    assert "(dndm_fig4_beta)" in printed
    assert len(list(folder.glob("figures/curve_*.png"))) == 4

    write(tmp_path / "plain" / "0", 0.5, 0)
    write(tmp_path / "plain" / "1", 0.6, 1)
    write_report([str(tmp_path / "plain")], None, tmp_path / "two", Console(file=io.StringIO()))
    page = Page((tmp_path / "two" / "report.html").read_text(encoding="utf-8"))
    assert [row[0] for row in page.tables[0]] == ["task", "day_to_night", "night_to_day"]
    assert page.images == []
    assert len(page.tables) == 1


def test_a_named_table_puts_ours_below_its_rows(tmp_path):
    write(tmp_path / "ours", 0.3, 0)
    write(tmp_path / "none", 0.2, 0, glare=False, structure_stages=[], awareness_stages=[])
    printed, page, _, _ = report(tmp_path, "ours", "none", table="dndm_table2")
    rows = page.tables[1]
    assert [row[:2] for row in rows if row[1] != "published"] == [
        *(["row", "from"], ["Baseline", "ours"], ["Baseline", "ours"], ["DNDM", "ours"], ["DNDM", "ours"]),
    ]
    assert [row[1] for row in rows].count("published") == 36
    assert "Li et al., DNDM, CVPR 2024, Table 2" in printed
    assert "With glare differ method.structure_stages, method.awareness_stages." in printed
    with pytest.raises(ConfigError, match="No published table 'x'"):
        report(tmp_path, "ours", table="x")


def test_brackets_are_printed_as_they_are(tmp_path):
    write(tmp_path / "a", 0.3, 0, structure_stages=[1])
    write(tmp_path / "b", 0.2, 0, structure_stages=[])
    printed, page, _, _ = report(tmp_path, "a", "b")
    assert "│ [1]" in printed
    assert [row[0] for row in page.tables[0][1::2]] == ["[1]", "[]"]


def test_ours_of_other_tasks_are_shown_if_we_have_no_other(tmp_path):
    write(tmp_path / "ours", 0.3, 0, tasks=("image_to_track",))
    _, page, _, _ = report(tmp_path, "ours", table="dndm_table3")
    assert [row[3] for row in page.tables[1] if row[1] == "ours"] == ["image_to_track"]


def test_runs_that_do_not_compare_are_never_mixed_silently(tmp_path):
    write(tmp_path / "a", 0.3, 0)
    write(tmp_path / "b", 0.4, 0, fingerprint="e" * 16)
    printed, page, _, _ = report(tmp_path, "a", "b")
    assert [row[0] for row in page.tables[0][1::2]] == ["cars & <bikes> ffffffff", "cars & <bikes> eeeeeeee"]
    assert "Data differ" in printed
    assert any("Data differ" in said for said in page.said)


def test_the_command_takes_runs_and_a_table(composed):
    cfg = composed("runs=[a,b]", "table=dndm_table2", config="report")
    assert (list(cfg.runs), cfg.table) == (["a", "b"], "dndm_table2")
