import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from src.data import make_table
from src.retrieval import Embeddings, EmbeddingsMeta, write_embeddings
from src.runs.html_page import Picture, Section, html_page
from src.runs.reports import write_report
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha

RESULT = {
    "mAP": 0.4321,
    "mINP": 0.2,
    "rank": {"1": 0.5, "5": 0.6, "10": 0.7, "20": 0.8},
    "queries": 12,
    "gallery": 1234,
    "skipped": 0,
    "trials": {"n": 1},
    "protocol": {
        "name": "image_to_image",
        "direction": "image query → image gallery",
        "ignore": "same_camera",
        "ap": "standard",
    },
}
TITLES = (
    *("Run", "Results", "Results by kind of query", "Rank lists", "Distances", "Map of embeddings", "Attention"),
    *("Training", "Trips between cameras", "All settings"),
)


def write_run(folder, table=None, sha="0" * 64, **more):
    """A run as `src.train` leaves it, with random embeddings of a table's test images."""
    metrics = {
        "schema": 1,
        "tasks": {"image_to_image": RESULT},
        "git": "abc",
        "versions": {"torch": "2.6"},
        "seed": 3,
        "checkpoint": "main/last.ckpt",
        "checkpoint_sha": sha,
        "data": {"name": "cars & <bikes>", "fingerprint": "f" * 16},
        "config": {"method": {"_target_": "src.methods.bot.BoT"}, "stages": {"main": {"epochs": 6}}, "retrieval": {}},
    }
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics | more))
    if table is not None:
        rows = np.flatnonzero(table["split"] != "train")
        features = torch.nn.functional.normalize(torch.randn(len(rows), 8))
        meta = EmbeddingsMeta(checkpoint_sha=sha, evaluation={"names": ["image_to_image"]})
        write_embeddings(folder / "embeddings", Embeddings(features, rows, table, None, meta))


def cars(root, **columns):
    """Forty images of eight vehicles, none of which is on disk."""
    known = {"path": [f"{n}.jpg" for n in range(40)], "vehicle_id": np.arange(40) % 8, "split": ["test"] * 40}
    return make_table(root, "cars", known | columns)


def report(tmp_path, *runs, **options):
    """The page, what was printed and the names of the pictures."""
    out = io.StringIO()
    write_report(list(runs), None, tmp_path / "report", Console(file=out), run=str(tmp_path / "run"), **options)
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    return page, out.getvalue(), {path.name for path in tmp_path.glob("report/figures/*")}


def section(page, title):
    return page.partition(f"<h2>{title}</h2>")[2].partition("<h2>")[0]


def test_numbers_alone_make_a_page_that_says_what_is_missing(tmp_path):
    write_run(tmp_path / "run")
    page, printed, pictures = report(tmp_path)
    assert [page.count(f"<h2>{title}</h2>") for title in TITLES] == [1] * len(TITLES)
    assert pictures == set()
    said = "Left out: no whole embeddings folder of this model in"
    for title in ("Rank lists", "Distances", "Map of embeddings", "Attention", "Trips between cameras"):
        assert said in section(page, title)
        assert f"{title}: {said}" in printed
    assert "nothing" in section(page, "Training")
    assert "differ in no camera" in section(page, "Results by kind of query")
    for part in (
        "cars &amp; &lt;bikes&gt;, fingerprint ffffffffffffffff",
        "BoT",
        "main: 6 epochs",
        "<dd>3</dd>",
        "abc",
    ):
        assert part in section(page, "Run")
    assert "0.432" in section(page, "Results")
    assert "1,234" in section(page, "Results")
    assert "stages.main.epochs: 6" in section(page, "All settings")


def test_embeddings_of_day_and_night_are_drawn_without_images(tmp_path):
    domains = ["day"] * 20 + ["night"] * 20
    day = {"mAP": 0.25, "R1": 0.5, "queries": 12}  # the others as they were written before there was more
    found = {"image_to_image": {"domain": {"day": day, "night": 0.75}, "camera_id": {"10": 0.2, "9": 0.1}}}
    write_run(tmp_path / "run", cars("gone", domain=domains), breakdowns=found)
    page, _, pictures = report(tmp_path, vehicles=5)
    assert pictures == {"distances.png", "distances_day_night.png", "embedding_map.png"}
    # 8 vehicles with 5 images each; 3 and 2, or 2 and 3, of day and night
    assert "80 pairs of the same vehicle, 700 of different ones, of all test images" in section(page, "Distances")
    assert "48 pairs of the same vehicle, 352 of different ones" in section(page, "Distances")
    assert "of 25 test images of 5 of 8 vehicles" in section(page, "Map of embeddings")
    assert "crosses by night" in section(page, "Map of embeddings")
    assert "40 test images; vehicle_id, domain" in section(page, "Run")
    assert "images are no longer there" in section(page, "Rank lists")
    assert "no checkpoint of SHA-256 000000000000…" in section(page, "Attention")
    broken_down = section(page, "Results by kind of query")
    places = [broken_down.index(part) for part in ("by domain", "0.250 / 0.500 (12)", "0.750", "by camera")]
    assert places == sorted(places)
    assert broken_down.index("<td>9</td>") < broken_down.index("<td>10</td>")


def test_a_whole_run_is_shown_with_others_beside(tmp_path, quickstart_veri, untrained):
    checkpoint = untrained("method=bot")
    images = sorted((quickstart_veri / "image_query").glob("*.jpg"))[::4][:12]
    images += [path.parents[1] / "image_test" / path.name for path in images]
    table = make_table(
        quickstart_veri,
        "cars",
        {
            "path": [str(path.relative_to(quickstart_veri)) for path in images] + ["a.jpg"] * 6,
            "split": ["query"] * 12 + ["gallery"] * 12 + ["train"] * 6,
            "vehicle_id": [int(path.name[:4]) for path in images] + [1] * 6,
            "camera_id": [1] * 12 + [2] * 12 + [3, 4] * 3,
            "timestamp": [0.0] * 24 + [1.0, 3.0, 7.0, 20.0, 50.0, 90.0],
        },
    )
    curves = {"spatial_slope": 6.0, "spatial_shift": 0.5, "temporal_slope": 6.0, "temporal_shift": 0.5}
    config = {"stages": {"main": {"epochs": 6}}, "retrieval": {"spatio_temporal": curves}}
    write_run(tmp_path / "run", table, file_sha(checkpoint), config=config)
    stage = tmp_path / "run/stages/main"
    stage.mkdir(parents=True)
    shutil.copy(checkpoint, stage / "last.ckpt")
    pd.DataFrame({"epoch": [0, 1], "step": [4, 9], "train/triplet": [2.0, 1.0]}).to_csv(stage / "metrics.csv")
    page, printed, pictures = report(tmp_path, str(tmp_path / "run"), attention=2)
    assert "Left out" not in page.replace(section(page, "Results by kind of query"), "")
    assert pictures == {
        *("rank_list_image_to_image.png", "distances.png", "embedding_map.png", "attention.png"),
        *("curves_main.png", "trips.png", "falling_curves.png"),
    }
    assert "without post-processing" in section(page, "Rank lists")
    assert page.count("src=") == page.count('src="data:image/png;base64,') == len(pictures)
    assert "<h2>Ours</h2>" in page
    assert "report.csv" in printed


def test_an_evaluation_finds_the_embeddings_it_was_made_from(tmp_path):
    write_run(tmp_path / "training", cars("gone"))
    config = {"embeddings": str(tmp_path / "training/embeddings"), "retrieval": {}}
    write_run(tmp_path / "run", config=config)
    assert "distances.png" in report(tmp_path)[2]


@pytest.mark.parametrize(
    ("columns", "title", "said"),
    [
        ({"vehicle_id": [-1] * 40}, "Distances", "fewer than two vehicles that are known"),
        ({"vehicle_id": range(40)}, "Distances", "All pairs are left out"),
        ({"vehicle_id": range(40)}, "Map of embeddings", "no four test images"),
    ],
)
def test_vehicles_that_cannot_be_compared_are_left_out(tmp_path, columns, title, said):
    write_run(tmp_path / "run", cars("gone", **columns))
    page, _, pictures = report(tmp_path)
    assert said in section(page, title)
    assert pictures == set()


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"run=.*run has no metrics.json; pass the folder of a finished run"):
        report(tmp_path)
    for run, table in ((None, None), (str(tmp_path / "run"), "dndm_table2")):
        with pytest.raises(ConfigError, match=r"Which runs\? Pass run=<run folder> for pictures, .* table needs runs"):
            write_report([], table, tmp_path, run=run)


def test_wide_pictures_scroll_and_narrow_ones_shrink(tmp_path):
    from matplotlib.figure import Figure

    pictures = []
    for width in (4, 9):
        figure = Figure(figsize=(width, 1))
        figure.savefig(tmp_path / f"{width}.png")
        pictures.append(Picture(tmp_path / f"{width}.png", f'{width} "inches"'))
    page = html_page("<title>", [Section("Both", pictures=pictures), Section("One", pictures=pictures[:1])])
    assert page.index("<section>") < page.index("Both") < page.index('<section class="narrow">') < page.index(">One<")
    assert '<img class="narrow" width="384" alt="4 &quot;inches&quot;"' in page
    assert '<img width="864"' in page
    assert "<h1>&lt;title&gt;</h1>" in page
