import io
from dataclasses import replace

import pytest
from rich.console import Console

from src.data.protocols import Protocol
from src.evaluation.metrics_record import IndexRecord, MetricsRecord, Scores, TaskRecord, Trials
from src.evaluation.metrics_table import print_metrics
from src.retrieval import DataVersion, EmbeddingsMeta, VerificationSummary

RULES = Protocol("day_to_night", "day query → night gallery", "same_camera", ap="trapezoid")
TASK = TaskRecord(0.4567, 0.1, {1: 0.5, 5: 0.6, 10: 0.7, 20: 0.8}, queries=7, gallery=9, protocol=RULES, skipped=2)
MODEL = EmbeddingsMeta("main/last.ckpt", data=DataVersion("cars"), dimensions=128)
METRICS = MetricsRecord({"day_to_night": TASK}, (MODEL,), seed=0, config={})


def shown(metrics):
    out = io.StringIO()
    print_metrics(metrics, Console(file=out))
    return out.getvalue()


def row(text, *parts):
    (line,) = [line for line in text.splitlines() if all(part in line for part in parts)]
    return line


def test_every_task_is_shown_with_its_protocol():
    text = shown(METRICS)
    for part in (
        *("cars, main/last.ckpt, 128 dimensions", "day_to_night", "0.457", "day query → night gallery"),
        *("same camera", "trapezoid AP", "trials: 1."),
    ):
        assert part in text
    for part in ("untrained", "Post-processing", "Contaminated", "Index", "drawn"):
        assert part not in text


def test_what_was_measured_before_stands_above():
    other = {"day_to_night": replace(TASK, mAP=0.1234)}
    assert "0.123" in row(shown(replace(METRICS, untrained=other)), "untrained")
    steps = ("query_groups", "k_reciprocal")
    text = shown(replace(METRICS, postprocessing=steps, before_postprocessing=other))
    assert "0.123" in row(text, "day_to_night", "│ trained")
    assert "0.457" in row(text, "day_to_night", "post-processed")
    assert "query_groups → k_reciprocal" in text


def test_drawn_trials_show_how_much_they_differ():
    rules = Protocol("one_gallery_image", "others → one", "none", trials=10, seed=0)
    std = Scores(0.0123, 0.004, {1: 0.021, 5: 0.022, 10: 0.023, 20: 0})
    task = replace(TASK, protocol=rules, trials=Trials(10, std))
    text = shown(replace(METRICS, tasks={"one_gallery_image": task}))
    assert all(number in row(text, "trained") for number in ("0.457", "0.500", "0.600", "0.700", "0.100"))
    assert all(number in row(text, "± std") for number in ("0.012", "0.021", "0.022", "0.023", "0.004"))
    assert "trials: 10, drawn with seed 0." in text


def test_numbers_that_are_not_known_are_dashes():
    nothing = Scores(float("nan"), float("nan"), dict.fromkeys((1, 5, 10, 20), float("nan")))
    line = row(shown(replace(METRICS, tasks={"a": replace(TASK, **vars(nothing))})), "│ trained")
    assert line.count("–") == 5
    assert "nan" not in line


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"verification": {"a": VerificationSummary({"0.01": 0.5}, {"0.01": 0.25}, None, 3, 4)}},
            "a: true acceptance at a false acceptance rate: 0.500 at 0.01 (distance ≤ 0.250).",
        ),
        (
            {"verification": {"a": VerificationSummary({"0.01": None}, {"0.01": None}, None, 0, 4)}},
            "a: true acceptance at a false acceptance rate: none.",
        ),
        ({"index": IndexRecord(8, {"a": 0.98765}, "hnsw", {})}, "Index hnsw: recall@8: a 0.9877."),
        (
            {"models": (replace(MODEL, contamination={"kind": "colour_cast", "share": 0.05}),)},
            "Contaminated: colour cast on 5% of each image.",
        ),
    ],
)
def test_what_else_was_measured_is_said_below(more, sentence):
    assert sentence in shown(replace(METRICS, **more))
