"""Sets of models and their weights against all there are, and the line that `src.evaluate` takes."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scripts import tune_ensemble
from src.data import make_table
from src.evaluation import evaluation_run
from src.retrieval import Embeddings, evaluate, write_embeddings
from src.retrieval.embeddings_meta import DataVersion, EmbeddingsMeta

VEHICLES, IMAGES = 12, 4
NOISE = (0.6, 0.8, 1.0, 3.0)


def model(number, tasks=("image_to_image",), holdout=0.2, path="{}.jpg"):
    """A model that knows the vehicles, more or less, each from its own side."""
    rng = np.random.default_rng(number)
    ids = np.repeat(np.arange(VEHICLES), IMAGES)
    sides = rng.normal(size=(VEHICLES, 6))
    features = torch.from_numpy(sides[ids] + NOISE[number] * rng.normal(size=(len(ids), 6))).float()
    columns = {"path": [path.format(image) for image in range(len(ids))], "split": "test", "vehicle_id": ids}
    table = make_table("/data", "cars", columns | {"camera_id": np.tile(np.arange(IMAGES), VEHICLES)})
    evaluation = {"names": [*tasks], "ap": "standard", "trials": 1, "seed": 0}
    meta = EmbeddingsMeta(data=DataVersion("cars", "f"), evaluation=evaluation, holdout=holdout, dimensions=6)
    return Embeddings(F.normalize(features), np.arange(len(ids)), table, meta=meta)


@pytest.fixture
def folders(tmp_path):
    """Embeddings of four models on disk."""
    paths = [tmp_path / f"model_{number}" for number in range(len(NOISE))]
    for number, path in enumerate(paths):
        write_embeddings(path, model(number))
    return paths


def by_hand(weights):
    """Mean average precision of the weighted features side by side."""
    models = [model(number) for number in range(len(NOISE))]
    joined = torch.cat([weight * one.features for weight, one in zip(weights, models, strict=True)], dim=1)
    ids, cameras, items = (models[0].table[name].to_numpy() for name in ("vehicle_id", "camera_id", "path"))
    numbers = np.arange(len(items))
    return evaluate(
        *(F.normalize(joined), F.normalize(joined), ids, ids),
        **{"query_cameras": cameras, "gallery_cameras": cameras, "query_items": numbers, "gallery_items": numbers},
        ignore="same_camera",
    ).mAP


@pytest.mark.parametrize("wanted", [1, 2, 3, None])
def test_the_best_set_of_few_models_is_the_best_of_all(folders, capsys, wanted):
    sets = [
        tuple(float(place in chosen) for place in range(4))
        for size in ([wanted] if wanted else range(1, 5))
        for chosen in combinations(range(4), size)
    ]
    asked = [] if wanted is None else ["--models", str(wanted)]
    best = tune_ensemble.main([*map(str, folders), *asked])
    assert by_hand(best) == pytest.approx(max(map(by_hand, sets)), abs=1e-6)
    said = capsys.readouterr().out.strip().splitlines()
    shown = ", ".join(f"{place} × 1" for place, weight in enumerate(best, start=1) if weight)
    assert f"{by_hand(best):.4f}  model {shown}" in said


@pytest.mark.parametrize("most", [200, 1])
def test_weights_are_the_best_of_all_or_better_than_any_one_change(folders, most):
    values = [0.0, 0.5, 1.0, 2.0]
    given = [*map(str, folders), "--models", "3", "--most", str(most), "--weights", *map(str, values)]
    best = tune_ensemble.main(given)
    inside = [place for place, weight in enumerate(tune_ensemble.main(given[: given.index("--weights")])) if weight]
    if most > 1:
        every = [
            tuple(dict(zip(inside, tried, strict=True)).get(place, 0.0) for place in range(4))
            for tried in product(values, repeat=3)
            if any(tried)
        ]
    else:
        every = [(*best[:place], value, *best[place + 1 :]) for place in inside for value in values]
        every = [tried for tried in every if any(tried)]
    assert by_hand(best) >= max(map(by_hand, every)) - 1e-6


def test_greedy_choice_exchanges_what_no_longer_helps():
    """0 is the best alone, but 1 and 2 together are best of all."""
    worth = {(0,): 0.9, (1,): 0.5, (2,): 0.4, (3,): 0.1, (0, 1): 0.91, (0, 2): 0.905, (1, 2): 1.0}

    def score(weights):
        return worth.get(tuple(place for place, weight in enumerate(weights) if weight), 0.2)

    for wanted, most in ((2, 1), (2, 100), (None, 1), (None, 100)):
        assert tune_ensemble.choose_models(4, score, wanted, most) == (0, 1, 1, 0)


def test_weights_that_differ_by_a_factor_are_measured_once(capsys):
    score = tune_ensemble.scorer([model(0), model(1)], "concatenate")
    assert score((1.0, 2.0)) == score((0.5, 1.0))
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("join", ["concatenate", "sum_distances"])
def test_the_line_is_one_that_evaluate_takes(composed, folders, tmp_path, capsys, join):
    given = [*map(str, folders), "--models", "2", "--weights", "0.5", "1", "--join", join]
    tune_ensemble.main(given)
    said = capsys.readouterr().out.strip().splitlines()
    best = max(float(line.split()[0]) for line in said[:-2])
    line = said[-1].split()
    assert line[1:2] == [f"retrieval.steps=[{join}]"]
    options = ("retrieval.queries=0", f"paths.run_dir={tmp_path}/both")
    found = evaluation_run.run(composed(*line, *options, config="evaluate"))
    assert found.tasks["image_to_image"].mAP == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    ("other", "options", "message"),
    [
        ({"holdout": 0}, [], "holds the embeddings of a test set, on which nothing may be chosen"),
        ({"path": "other/{}.jpg"}, [], "are of different images"),
        ({}, ["--models", "3"], "--models is 3, expected 1 to 2"),
        ({}, ["--weights", "-1"], "expected none below 0"),
    ],
)
def test_what_cannot_be_chosen_is_refused(tmp_path, capsys, other, options, message):
    write_embeddings(tmp_path / "a", model(0))
    write_embeddings(tmp_path / "b", model(1, **other))
    with pytest.raises(SystemExit) as error:
        tune_ensemble.main([f"{tmp_path}/a", f"{tmp_path}/b", *options])
    assert message in f"{error.value}{capsys.readouterr().err}"
