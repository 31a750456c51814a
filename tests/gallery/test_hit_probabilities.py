"""Probabilities of what a search finds."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from src.checkpoints.calibration_entry import add_calibration
from src.data import make_table
from src.gallery import Gallery, Hit, build, query
from src.gallery.hit_probabilities import Judge, at_least, not_in_gallery
from src.gallery.track_search import TrackHit
from src.retrieval import Embeddings, read_embeddings
from src.retrieval.probabilities.calibration import Calibration, EvidenceCurve, Fit
from src.runtime.errors import ConfigError

CALIBRATION = Calibration(
    EvidenceCurve((-1.0, 1.0), (-20.0, 20.0)),
    {"day night": EvidenceCurve((-1.0, 1.0), (-10.0, 30.0))},
    Fit("logistic", "trained on", 9, 90, 100, 900, 2.0, {}),
)


@pytest.fixture
def gallery():
    columns = {"path": ["a.jpg", "b.jpg", "c.jpg"], "split": "gallery", "domain": ["day", "night", ""]}
    table = make_table("/data", "cars", columns)
    return Gallery(Embeddings(F.normalize(torch.randn(3, 4)), np.arange(3), table))


def test_hits_are_judged_by_their_pair(gallery):
    judge = Judge(gallery, CALIBRATION, 0.01)
    hits = [Hit(0, 0.5), Hit(1, 0.5), Hit(2, 0.5)]
    own, across, unknown = judge.judged(hits, "day")
    assert own.probability == unknown.probability == pytest.approx(1 / (1 + 99 * np.exp(-10)))
    assert across.probability == pytest.approx(1 / (1 + 99 * np.exp(-20)))
    assert [hit.probability for hit in judge.judged(hits, None)] == [own.probability] * 3
    assert [hit.row for hit in at_least(judge.judged(hits, "day"), 0.997)] == [1]
    assert judge.judged([], "day") == []
    assert judge.sentence.startswith("Probabilities are for a vehicle with 0.03 of the gallery's 3 images (prior=0.01)")
    assert "too sure of themselves, as these were trained on" in judge.sentence


def test_tracks_are_judged_by_their_picture_most_like_the_query(gallery):
    judge, picture = Judge(gallery, CALIBRATION, 0.01), F.normalize(torch.randn(4), dim=0).numpy()
    hits = [TrackHit(row=2, score=0.9, rows=[0, 2]), TrackHit(row=1, score=0.3, rows=[1])]
    pairs = [
        Hit(hit.row, sum(float(a) * float(b) for a, b in zip(gallery.features[hit.row], picture, strict=True)))
        for hit in hits
    ]
    judged = judge.judged(hits, "day", picture)
    assert [(hit.row, hit.score, hit.rows) for hit in judged] == [(2, 0.9, [0, 2]), (1, 0.3, [1])]
    wanted = [hit.probability for hit in judge.judged(pairs, "day")]
    assert [hit.probability for hit in judged] == pytest.approx(wanted, rel=1e-5)


def test_whether_the_vehicle_is_there_is_known_of_the_likeliest():
    assert not_in_gallery([Hit(0, 0.5, 0.4), Hit(1, 0.4, 0.6)]) is False
    assert not_in_gallery([Hit(0, 0.5, 0.4)]) is True
    assert not_in_gallery([Hit(0, 0.5)]) is None
    assert not_in_gallery([]) is None


@pytest.fixture
def find(composed, untrained, quickstart_veri, tmp_path):
    """Searches an index of the queries of the small VeRi set."""
    checkpoint = untrained("method=bot", "transforms.size=32")

    def run(*overrides, calibration=CALIBRATION):
        out = tmp_path / "gallery"
        if not out.exists():
            if calibration is not None:
                add_calibration(checkpoint, calibration)
            options = ("data=quickstart_veri", "splits=[query]", f"out={out}")
            build.run(composed(f"checkpoint={checkpoint}", *options, config="index"))
        image = min((quickstart_veri / "image_query").glob("*.jpg"))
        return query.run(composed(f"index={out}", f"query={image}", *overrides, config="search"))[0]

    return run


def test_a_search_says_probabilities(find, tmp_path, capsys):
    found = find("top=5", f"json={tmp_path}/out.json", f"picture={tmp_path}/out.png")
    for hit in found:
        assert hit.probability == pytest.approx(CALIBRATION.probability(hit.score, 2 / 139), abs=1e-6)
    assert read_embeddings(tmp_path / "gallery").meta.calibration == CALIBRATION
    (entry,) = json.loads((tmp_path / "out.json").read_text())
    assert [hit["probability"] for hit in entry["hits"]] == [hit.probability for hit in found]
    assert entry["not_in_gallery"] is False
    out = capsys.readouterr().out
    assert "probability" in out
    assert "prior=0.014" in out
    sure = find("top=100", "min_probability=0.9999", "prior=0.001")
    assert all(CALIBRATION.probability(hit.score, 0.001) >= 0.9999 for hit in sure)


def test_a_vehicle_that_is_not_there_is_an_answer(find, tmp_path, capsys):
    nothing = Calibration(EvidenceCurve((-1.0, 1.0), (-1.0, 0.0)), {}, CALIBRATION.fit)
    assert find("min_probability=0.6", f"json={tmp_path}/out.json", calibration=nothing) == []
    assert json.loads((tmp_path / "out.json").read_text())[0]["not_in_gallery"] is True
    assert "probably not in the gallery" in " ".join(capsys.readouterr().out.split())


def test_without_a_calibration_scores_are_all_there_is(find, capsys):
    assert {hit.probability for hit in find(calibration=None)} == {None}
    assert "probability" not in capsys.readouterr().out
    for asked in ("min_probability=0.9", "prior=0.1"):
        with pytest.raises(ConfigError, match="has no calibration, so there are no probabilities"):
            find(asked)


def test_a_page_with_a_prior_and_nothing_to_use_it_is_refused(command, monkeypatch):
    embedder = SimpleNamespace(calibration=None, checkpoint="a.ckpt")
    monkeypatch.setattr("src.gallery.Gallery.open", lambda *_: None)
    monkeypatch.setattr("src.gallery.query.matching_embedder", lambda *_: embedder)
    done = command("src.app", "index=x", "prior=0.1")
    assert done.returncode == 1
    assert "Error: a.ckpt has no calibration" in done.stderr
