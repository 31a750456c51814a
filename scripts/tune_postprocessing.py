"""Chooses what the papers leave open (δ, θ, τ, eps, weights) on held-out training identities, never on the test set.

    python -m src.train method=bot data=veri776 data.holdout=0.2
    python -m scripts.tune_postprocessing <run>/embeddings --steps query_groups group_reranking
    python -m scripts.tune_postprocessing <run>/embeddings --steps spatio_temporal k_reciprocal \
        --grid 'spatio_temporal.omega=[0,0.1,0.2,0.4]' 'k_reciprocal.k1=[10,20,30]'

Several folders are several models, joined by concatenate or sum_distances. Options that have no default are searched
over a grid of their own, others over the one that is given. One option is varied at a time, the others keep their
best values so far, until nothing improves. Prints every mean average precision (averaged over the tasks) and the
overrides to pass to src.evaluate. Embeddings of a test set are refused.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from omegaconf import OmegaConf

from src.data import build_tasks
from src.evaluation.task_results import evaluate_task
from src.retrieval import STEPS, Embeddings, make_steps, read_embeddings, same_images
from src.retrieval.distances.spatio_temporal import trips
from src.runtime.errors import ConfigError
from src.runtime.progress import working

Options = dict[str, dict[str, Any]]
_ROUNDS = 3
_DISTANCES = [round(0.1 * step, 1) for step in range(1, 13)]
_PENALTIES = [0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8]


def main(arguments: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", type=Path, nargs="+")
    parser.add_argument("--steps", nargs="+", required=True, choices=STEPS)
    parser.add_argument("--grid", nargs="*", default=[], metavar="STEP.OPTION=[VALUE,…]")
    parser.add_argument("--set", nargs="*", default=[], metavar="STEP.OPTION=VALUE", help="options that stay as given")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # how far a long trial is
    try:
        return choose(given)
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from error


def choose(given: argparse.Namespace) -> Options:
    """Reads the embeddings, tries the options, and prints the best.

    Raises:
        ConfigError: If the embeddings are of a test set, or of different images.
        StepError: If a step or an option is unknown, or a step cannot be taken.
    """
    models = read_held_out(given.embeddings)
    options = _nested(given.set)
    grid = open_options(given.steps, options, models[0])
    for step, own in _nested(given.grid).items():
        grid |= {(step, option): values for option, values in own.items()}
    best = tune(models, given.steps, options, grid)
    overrides = [f"retrieval.{step}.{option}={best[step][option]}" for step, option in grid]
    print(f"\nretrieval.steps=[{','.join(given.steps)}] {' '.join(overrides)}")
    return best


def read_held_out(folders: Sequence[Path]) -> list[Embeddings]:
    """Embeddings of held-out training identities, by several models of the same images.

    Raises:
        ConfigError: If any are of a test set, or they are of different images.
    """
    models = [read_embeddings(folder) for folder in folders]
    for folder, model in zip(folders, models, strict=True):
        if not model.meta.holdout:
            raise ConfigError(
                f"{folder} holds the embeddings of a test set, on which nothing may be chosen; train with "
                "data.holdout=0.2 and pass the embeddings of that run."
            )
        if not same_images(models[0], model):
            raise ConfigError(f"{folder} and {folders[0]} are of different images, expected the same.")
    return models


def _nested(texts: list[str]) -> Options:
    """`step.option=value` as step → option → value."""
    return cast(Options, OmegaConf.to_container(OmegaConf.from_dotlist(texts)))


def open_options(steps: list[str], known: Options, embeddings: Embeddings) -> dict[tuple[str, str], list[Any]]:
    """What the steps' papers leave open and nobody has given, with values to try."""
    table = embeddings.table
    held = table[table["split"] != "train"].dropna(subset="timestamp")
    gaps = trips(held["vehicle_id"], held["camera_id"], held["timestamp"])[0]
    values: dict[str, list[Any]] = {
        "theta": _DISTANCES,
        "eps": _DISTANCES,
        "delta_type": _PENALTIES,
        "delta_colour": _PENALTIES,
        "tau": np.quantile(gaps, [0.5, 0.75, 0.9, 0.95, 0.99, 1]).round(3).tolist() if len(gaps) else [],
    }
    return {
        (name, option): tried
        for name in steps
        for option, tried in values.items()
        if hasattr(STEPS[name], option) and option not in known.get(name, {})
    }


def tune(
    models: Sequence[Embeddings], steps: list[str], options: Options, grid: dict[tuple[str, str], list[Any]]
) -> Options:
    """The best options found by varying one at a time."""
    tasks = build_tasks(models[0].table, **models[0].meta.evaluation)
    best: Options = {name: dict(options.get(name, {})) for name in steps}
    for (step, option), values in grid.items():
        best[step][option] = values[len(values) // 2]
    measured: dict[str, float] = {}

    def score(candidate: Options) -> float:
        key = repr(candidate)
        if key not in measured:
            chosen = make_steps(steps, candidate)
            with working(f"Trying {_shown(candidate, grid)}"):
                scores = [evaluate_task(task, models, chosen).mean_ap for task in tasks]
            measured[key] = float(np.mean(scores))
            print(f"{measured[key]:.4f}  {_shown(candidate, grid)}", flush=True)
        return measured[key]

    for number, model in enumerate(models, start=1):
        plain = np.mean([evaluate_task(task, [model]).mean_ap for task in tasks])
        print(f"{plain:.4f}  without steps" + (f", model {number}" if len(models) > 1 else ""))
    for _ in range(_ROUNDS):
        before = score(best)
        for (step, option), values in grid.items():
            candidates = [{**best, step: {**best[step], option: value}} for value in values]
            best = max([best, *candidates], key=score)  # of equals the first, so what is stays
        if score(best) <= before:
            break
    return best


def _shown(candidate: Options, grid: dict[tuple[str, str], list[Any]]) -> str:
    return ", ".join(f"{step}.{option}={candidate[step][option]}" for step, option in grid)


if __name__ == "__main__":
    main()
