"""Chooses the best n of m models, and their weights in an ensemble, on held-out training identities.

    python -m src.train --multirun sweep=seeds experiment=… data.holdout=0.2
    python -m scripts.tune_ensemble outputs/sweeps/<date_time>/*/embeddings --models 8
    python -m scripts.tune_ensemble <run 1>/embeddings <run 2>/embeddings --weights 0 0.5 1 2

Every candidate is measured exactly, by the mean average precision over the tasks. All sets of n models are tried if
they are few (--most); else the best model is joined by the one that helps most, again and again, and what is left out
is tried in the place of what is in. The same holds for weights: all combinations, or one weight at a time. VehicleNet
takes the 8 best of 32 models (Section V-B) and weights them all 1. Embeddings of a test set are refused.

Prints the overrides to pass to src.evaluate, for these embeddings; those of the same models trained again with
data.holdout=0 take their places, in the same order.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from math import comb
from pathlib import Path

import numpy as np

from scripts.tune_postprocessing import read_held_out
from src.data import build_tasks
from src.evaluation.task_results import evaluate_task
from src.retrieval import Embeddings, make_steps

Weights = tuple[float, ...]  # one a model, 0 for one that is left out
Score = Callable[[Weights], float]
_JOINS = ("concatenate", "sum_distances")


def main(arguments: list[str] | None = None) -> Weights:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", type=Path, nargs="+")
    parser.add_argument("--models", type=int, metavar="N", help="how many to take; without, as many as are best")
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[1.0], metavar="W", help="to try for each; default 1"
    )
    parser.add_argument("--join", choices=_JOINS, default="concatenate")
    parser.add_argument(
        "--most", type=int, default=200, metavar="K", help="try all candidates if so many (default 200)"
    )
    given = parser.parse_args(arguments)
    count = len(given.embeddings)
    if given.models is not None and not 1 <= given.models <= count:
        parser.error(f"--models is {given.models}, expected 1 to {count}, as many as there are embeddings.")
    if min(given.weights) < 0 or max(given.weights) == 0:
        parser.error(f"--weights is {' '.join(map(str, given.weights))}, expected none below 0 and one above.")
    if len(set(given.embeddings)) < count:
        parser.error("One of the embeddings is there twice.")

    try:
        score = scorer(read_held_out(given.embeddings), given.join)
        best = choose_weights(choose_models(count, score, given.models, given.most), score, given.weights, given.most)
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from error
    print("\n" + overrides(best, given.embeddings, given.join))
    return best


def overrides(weights: Weights, folders: Sequence[Path], join: str) -> str:
    """What `src.evaluate` takes: the embeddings of the models that are in, and their weights."""
    inside = [(folder, weight) for folder, weight in zip(folders, weights, strict=True) if weight]
    embeddings = f"embeddings=[{','.join(str(folder) for folder, _ in inside)}]"
    if len(inside) == 1:
        return embeddings
    shown = ",".join(f"{weight:g}" for _, weight in inside)
    return f"{embeddings} retrieval.steps=[{join}] retrieval.{join}.weights=[{shown}]"


def scorer(models: Sequence[Embeddings], join: str) -> Score:
    """Mean average precision of an ensemble, over the tasks, computed once for weights that differ by a factor.

    Args:
        models: Embeddings of the same images.
        join: The step that joins them.
    """
    tasks = build_tasks(models[0].table, **models[0].meta.evaluation)
    measured: dict[Weights, float] = {}

    def score(weights: Weights) -> float:
        key = tuple(round(weight / max(weights), 9) for weight in weights)
        if key not in measured:
            inside = [model for model, weight in zip(models, weights, strict=True) if weight]
            own = [weight for weight in weights if weight]
            steps = make_steps([join], {join: {"weights": own}}) if len(inside) > 1 else []
            measured[key] = float(np.mean([evaluate_task(task, inside, steps).mean_ap for task in tasks]))
            shown = ", ".join(f"{place} × {weight:g}" for place, weight in enumerate(weights, start=1) if weight)
            print(f"{measured[key]:.4f}  model {shown}", flush=True)
        return measured[key]

    return score


def choose_models(count: int, score: Score, wanted: int | None = None, most: int = 200) -> Weights:
    """The best set of models, each of weight 1.

    Args:
        count: How many there are, m.
        score: What shall be large.
        wanted: How many to take, n; None for as many as are best.
        most: All sets are tried if there are no more than that.
    """
    sizes = range(1, count + 1) if wanted is None else [wanted]
    alone = sorted(range(count), key=lambda model: -score(_of({model}, count)))
    if sum(comb(count, size) for size in sizes) <= most:
        return max((_of(chosen, count) for size in sizes for chosen in combinations(alone, size)), key=score)
    chosen = {alone[0]}
    while len(chosen) < (count if wanted is None else wanted):
        larger = max((chosen | {model} for model in alone if model not in chosen), key=lambda s: score(_of(s, count)))
        if wanted is None and score(_of(larger, count)) <= score(_of(chosen, count)):
            break
        chosen = larger
    while better := _exchanged(chosen, alone, count, score):
        chosen = better
    return _of(chosen, count)


def _exchanged(chosen: set[int], models: Sequence[int], count: int, score: Score) -> set[int] | None:
    """The best set that has one model in another's place; None if it is no better."""
    sets = [chosen - {old} | {new} for old in chosen for new in models if new not in chosen]
    best = max(sets, key=lambda tried: score(_of(tried, count)), default=chosen)
    return best if score(_of(best, count)) > score(_of(chosen, count)) else None


def choose_weights(chosen: Weights, score: Score, values: Sequence[float], most: int = 200) -> Weights:
    """The best weights of a set of models.

    Args:
        chosen: 1 for each model of the set.
        score: What shall be large.
        values: Weights to try for each.
        most: All combinations are tried if there are no more than that.
    """
    inside = [place for place, weight in enumerate(chosen) if weight]
    if len(values) ** len(inside) <= most:
        every = (_with(chosen, dict(zip(inside, tried, strict=True))) for tried in product(values, repeat=len(inside)))
        return max([chosen, *filter(any, every)], key=score)  # of equals the first
    best: Weights = chosen
    before: Weights = ()
    while best != before:
        before = best
        for place in inside:
            best = max([best, *filter(any, (_with(best, {place: value}) for value in values))], key=score)
    return best


def _of(models: Iterable[int], count: int) -> Weights:
    return _with((0.0,) * count, dict.fromkeys(models, 1.0))


def _with(weights: Weights, changed: dict[int, float]) -> Weights:
    return tuple(changed.get(place, weight) for place, weight in enumerate(weights))


if __name__ == "__main__":
    main()
