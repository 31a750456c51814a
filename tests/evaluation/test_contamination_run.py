"""Checkpoints measured on damaged images, and where they look."""

import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import pandas as pd
import pytest
from hydra.errors import InstantiationException

from scripts import contamination
from src.evaluation import evaluation_run as evaluation
from src.evaluation.metrics_file import read_metrics
from src.retrieval import read_embeddings
from src.runtime.errors import ConfigError
from src.training import run as stages

SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "debug=one_batch", "workers=0", "trainer=cpu")


def test_damage_is_said_wherever_its_numbers_are(composed, tmp_path):
    stages.run(composed(*SMALL, "method=bot", "data=quickstart_veri"))
    checkpoint = f"checkpoint={tmp_path}/run/stages/main/last.ckpt"
    plain = read_metrics(tmp_path / "run")
    assert plain.models[0].contamination is None

    def evaluated(name, *overrides):
        cfg = composed(f"paths.run_dir={tmp_path / name}", "workers=0", *overrides, config="evaluate")
        return evaluation.run(cfg)

    damage = ("contamination.kind=mixed", "contamination.share=0.5", "contamination.block=8")
    damaged = evaluated("damaged", checkpoint, *damage, "attention=3")
    said = {"kind": "mixed", "share": 0.5, "seed": 0, "block": 8, "luma": 96.0, "chroma": 64.0}
    assert damaged.models[0].contamination == said
    assert read_embeddings(tmp_path / "damaged/embeddings").meta.contamination == said
    assert damaged.tasks["image_to_image"].mAP != plain.tasks["image_to_image"].mAP
    assert cv2.imread(str(tmp_path / "damaged/figures/attention.png")).std() > 0
    assert not (tmp_path / "run/figures/attention.png").exists()
    undamaged = evaluated("undamaged", checkpoint, "contamination.kind=mosaic", "contamination.share=0")
    assert undamaged.tasks == plain.tasks

    embeddings = f"embeddings={tmp_path}/run/embeddings"
    for override in ("contamination.share=0.2", "contamination.kind=mosaic", "attention=2", "explain=2"):
        with pytest.raises(ConfigError, match=r"contamination, attention, explain, retrieval\.flip .* need checkpoint"):
            evaluated("refused", embeddings, override)
    with pytest.raises(InstantiationException, match=r"contamination\.share is None"):
        evaluated("half", checkpoint, "contamination.kind=mosaic")


@pytest.mark.slow
def test_every_kind_and_share_once(composed, tmp_path, monkeypatch, capsys):
    stages.run(composed(*SMALL, "method=bot", "data=quickstart_veri"))
    checkpoint = f"checkpoint={tmp_path}/run/stages/main/last.ckpt"
    calls = []
    real = evaluation.run
    monkeypatch.setattr(evaluation, "run", lambda cfg: calls.append(Path(cfg.paths.run_dir).name) or real(cfg))

    def measured(*overrides):
        options = ("workers=0", "trainer=cpu", "data.tasks=[image_to_image]", "data=quickstart_veri")
        cfg = composed(checkpoint, *options, f"paths.run_dir={tmp_path}/out", *overrides, config="contamination")
        calls.clear()
        return contamination.run(cfg).set_index(["name", "share"])["mAP"]

    first = measured("kinds=[mosaic]", "shares=[0,0.5]")
    assert calls == ["undamaged", "mosaic_0.5"]
    both = measured("kinds=[mosaic,brightness,mixed]", "shares=[0,0.5]")
    assert calls == ["brightness_0.5", "mixed_0.5"]
    pd.testing.assert_series_equal(both[first.index], first)
    assert both["mosaic", 0] == both["mixed", 0]
    for share in (0, 0.5):
        mean = (both["mosaic", share] + both["brightness", share]) / 2
        assert both[contamination.MEAN, share] == pytest.approx(mean)
        folder = tmp_path / "out" / (f"mixed_{share}" if share else "undamaged")
        found = read_metrics(folder)
        assert both["mixed", share] == found.tasks["image_to_image"].mAP
        assert (found.models[0].contamination or {"share": 0})["share"] == share
    written = pd.read_csv(tmp_path / "out/contamination.csv")
    assert list(written) == ["name", "share", "task", "mAP", "R1", "R5"]
    assert written.set_index(["name", "share"])["mAP"].to_dict() == pytest.approx(both.to_dict())
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"contamination.png", "examples.png"}
    assert not list((tmp_path / "out").rglob("*.safetensors"))
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "PRN, published, vehicleid_average" in line)
    assert "0.801" in row
    assert "0.323" in shown

    with pytest.raises(ConfigError, match=r"mosaic_0\.5 was measured with another contamination; pass another out="):
        measured("shares=[0.5]", "contamination.block=8")
    with pytest.raises(ConfigError, match="Pass checkpoint="):
        measured("checkpoint=null")


def test_test_lists_one_after_the_other_and_on_average(composed, tmp_path, monkeypatch, capsys):
    accuracy = {800: 0.9, 1600: 0.7, 2400: 0.2}

    def evaluate(cfg):
        number, share = cfg.data.layout.test_ids, cfg.contamination.share or 0
        of = accuracy[number] - share * (1 + (cfg.contamination.kind == "mosaic"))
        record = SimpleNamespace(of=lambda score: of + (score == "R1") / 100)
        Path(cfg.paths.run_dir, "embeddings").mkdir(parents=True)
        return SimpleNamespace(tasks={"one_gallery_image": record}, data=SimpleNamespace(name=cfg.data.name))

    monkeypatch.setattr(evaluation, "run", evaluate)
    monkeypatch.setattr(contamination, "_draw_examples", lambda *_: None)

    def measured(*overrides):
        options = ("checkpoint=some.ckpt", "trainer=cpu", f"paths.run_dir={tmp_path}/out", "kinds=[mosaic,brightness]")
        return contamination.run(composed(*options, "shares=[0,0.1]", *overrides, config="contamination"))

    table = measured("data=vehicleid", "test_lists=[800,1600,2400]")
    assert list(table["task"].unique()) == [*(f"vehicleid_{n}" for n in accuracy), contamination.AVERAGE]
    found = table.set_index(["task", "name", "share"])
    for number, undamaged in accuracy.items():
        assert found.loc[(f"vehicleid_{number}", "mosaic", 0.1), "mAP"] == pytest.approx(undamaged - 0.2)
    for name, lost in (("mosaic", 0.2), ("brightness", 0.1), (contamination.MEAN, 0.15)):
        assert found.loc[(contamination.AVERAGE, name, 0.1), "mAP"] == pytest.approx(0.6 - lost)
        assert found.loc[(contamination.AVERAGE, name, 0.0), "R1"] == pytest.approx(0.61)
    assert (tmp_path / "out/contamination.png").is_file()
    shown = capsys.readouterr().out
    printed = re.split(r"^(?=vehicleid_|average of)", shown, flags=re.MULTILINE)[1:]
    tables = dict(zip(found.index.unique(0), printed, strict=True))
    for task, undamaged in (("vehicleid_1600", "0.849"), (contamination.AVERAGE, "0.853")):
        row = next(line for line in tables[task].splitlines() if "DFR-ST, published" in line)
        assert undamaged in row
    with pytest.raises(ConfigError, match=r"test_lists is for data with several test lists; pass data=vehicleid"):
        measured("data=veri776", "test_lists=[800]")


@pytest.mark.parametrize(
    ("data", "shown", "undamaged"),
    [("vehicleid_1600", "vehicleid_1600", 0.8494), ("veri776", "vehicleid_average", 0.8529)],
)
def test_published_numbers_are_those_of_the_test_list(data, shown, undamaged):
    known = contamination.published(data)
    assert list(known["name"].unique()) == [f"DFR-ST, published, {shown}", f"PRN, published, {shown}"]
    assert list(known["share"]) == 2 * [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert known["mAP"].iloc[0] == undamaged
    assert (known.groupby("name")[["mAP", "R1", "R5"]].diff().dropna() < 0).all(axis=None)
