"""The card of a model: what it is, what it was measured on and how, and what nobody should ask of it."""

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.checkpoint_file import WholeCheckpoints, load_checkpoint
from src.data.data_terms import terms_of
from src.embed.hub import HUB_FILE
from src.evaluation.metrics_file import has_metrics, read_metrics
from src.evaluation.metrics_record import MetricsRecord, TaskRecord
from src.runtime.provenance import file_sha
from src.runtime.whole_files import write_atomically

log = logging.getLogger(__name__)

CARD_FILE = "README.md"
_RANKS = (1, 5, 10)


def write_card(cfg: DictConfig, exported: Mapping[str, Any]) -> Path:
    """Writes `README.md` in the Hugging Face form, and `model.ckpt`, beside exported files.

    Args:
        cfg: The configuration of `src.export`.
        exported: What its JSON file says.

    Returns:
        The card's place.

    Raises:
        ConfigError: If the run's `metrics.json` is none.
    """
    checkpoint, folder = Path(cfg.checkpoint).resolve(), Path(cfg.out).parent
    content = load_checkpoint(checkpoint)
    weights = {name: content[name] for name in ("state_dict", "reid")}  # no optimiser
    WholeCheckpoints().save_checkpoint(weights, folder / HUB_FILE)
    metrics = _metrics(checkpoint)
    if metrics is None:
        log.warning("There is no metrics.json of %s beside its run; the card says no numbers.", checkpoint)
    name = cfg.name or Path(cfg.out).stem
    text = card(name, content["reid"], metrics, exported, licence=cfg.licence, sha=file_sha(folder / HUB_FILE))
    write_atomically(folder / CARD_FILE, text)
    log.info("%s and %s: the folder can be published as it is.", folder / CARD_FILE, HUB_FILE)
    return folder / CARD_FILE


def card(
    name: str,
    made: Mapping[str, Any],
    metrics: MetricsRecord | None,
    exported: Mapping[str, Any],
    *,
    licence: str | None,
    sha: str,
) -> str:
    """The card's text.

    Args:
        name: Of the model.
        made: The `reid` entry of its checkpoint.
        metrics: What was measured; None if nothing is known.
        exported: What `src.export` says of its files.
        licence: Of the weights; None leaves it open.
        sha: SHA-256 of `model.ckpt`.
    """
    config = OmegaConf.create(made["config"])
    results = [] if metrics is None else [*_results(metrics)]
    front = ModelCardData(
        library_name="vehicle-reid",
        license=licence,
        pipeline_tag="image-feature-extraction",
        tags=["vehicle-re-identification", "image-retrieval", "pytorch", *sorted(set(exported["formats"]) & {"onnx"})],
        metrics=["mAP"] if results else None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    parts = [
        f"---\n{front.to_yaml()}\n---",
        f"# {name}",
        "Finds the same vehicle again in other pictures: a picture in, an embedding of length 1 out; the more alike "
        "two vehicles look, the larger the dot product of their embeddings.",
        "## How to load it",
        _loading(exported),
        "## What it is",
        _table(_facts(config, made, exported, sha)),
        "## Data",
        _data(config, made, metrics),
        "## Numbers",
        *([_NOTHING] if metrics is None else _numbers(metrics)),
        "## Limits",
        *_limits(config, made, metrics, licence),
    ]
    return "\n\n".join(parts) + "\n"


_NOTHING = "None are known: there was no metrics.json beside the checkpoint's run."


def _results(metrics: MetricsRecord) -> Iterator[EvalResult]:
    for task, record in metrics.tasks.items():
        measured = {"mAP": record.mAP, "mINP": record.mINP} | {f"rank-{k}": record.rank.get(k) for k in _RANKS}
        for measure, value in measured.items():
            if value is not None and math.isfinite(value):
                yield EvalResult(
                    task_type="image-retrieval",
                    task_name=task,
                    dataset_type=metrics.data.name,
                    dataset_name=metrics.data.name,
                    dataset_config=task,  # or the hub takes all tasks of a data set for one
                    dataset_revision=metrics.data.fingerprint or None,
                    metric_type=measure,
                    metric_value=round(float(value), 4),
                )


def _loading(exported: Mapping[str, Any]) -> str:
    files = ", ".join(f"`{row['file']}`" for row in exported["formats"].values() if "file" in row)
    needs = "domain" in [entry["name"] for entry in exported["inputs"]]
    domain = ', domain="night"' if needs else ""
    return (
        "```python\nfrom src.embed import Embedder  # pip install vehicle-reid, or its repository\n\n"
        'embed = Embedder("<owner>/<name>")  # or @<revision> behind it, or this folder\n'
        f'similarity = embed("query.jpg"{domain}) @ embed("gallery/"{domain}).T\n```\n\n'
        f"`model.ckpt` is read without running code from it. {files}: the same network for other run times; the JSON "
        "file beside them says what goes in and what comes out."
    )


def _facts(config: DictConfig, made: Mapping[str, Any], exported: Mapping[str, Any], sha: str) -> list[tuple[str, Any]]:
    shape = exported["inputs"][0]["shape"]
    return [
        ("method", exported["method"]),
        ("backbone", OmegaConf.select(config, "backbone.name") or "unknown"),
        ("input", f"RGB, {shape[2]} × {shape[3]}"),
        ("embedding", f"{exported['output']['shape'][1]} numbers"),
        ("training identities", len(made["labels"])),
        ("seed", OmegaConf.select(config, "seed")),
        ("SHA-256 of model.ckpt", sha),
    ]


def _data(config: DictConfig, made: Mapping[str, Any], metrics: MetricsRecord | None) -> str:
    trained = sorted({str(stage.data.get("name", "unknown")) for stage in config.get("stages", {}).values()})
    trained = trained or [str(made.get("data", {}).get("name", "unknown"))]
    rows = [(f"trained on `{name}`", terms_of(name)) for name in trained]
    if metrics is not None and metrics.data.name not in trained:
        rows.append((f"measured on `{metrics.data.name}`", terms_of(metrics.data.name)))
    return _table(rows)


def _numbers(metrics: MetricsRecord) -> Iterator[str]:
    ranks = [k for k in _RANKS if all(k in task.rank for task in metrics.tasks.values())]
    head = ["features", "task", "mAP", *(f"R{k}" for k in ranks), "mINP", "queries", "gallery"]
    lines = [head, ["---"] * len(head)]
    for phase in metrics.phases:
        if phase.tasks is metrics.tasks or phase.features == "untrained":
            lines += [[phase.features, *_row(name, task, ranks)] for name, task in phase.tasks.items()]
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
    yield "\n".join(f"- {_rules(name, task)}" for name, task in metrics.tasks.items())
    steps = ", then " + ", ".join(metrics.postprocessing) if metrics.postprocessing else ""
    yield (
        f"One run, seed {metrics.seed}{steps}; data set `{metrics.data.name}`, fingerprint "
        f"`{metrics.data.fingerprint or 'unknown'}`; torch {metrics.versions.get('torch')}."
    )


def _row(name: str, task: TaskRecord, ranks: list[int]) -> list[str]:
    rates = [f"{task.mAP:.3f}", *(f"{task.rank[k]:.3f}" for k in ranks), f"{task.mINP:.3f}"]
    return [name, *rates, f"{task.queries:,}", f"{task.gallery:,}"]


def _rules(name: str, task: TaskRecord) -> str:
    protocol = task.protocol
    trials = f", mean of {task.trials.n} trials" if task.trials.n > 1 else ""
    return (
        f"`{name}`: {protocol.direction}; not counted in a list: {protocol.ignore.replace('_', ' ')}; {protocol.ap} "
        f"average precision; {task.skipped} queries without a match left out{trials}."
    )


def _limits(
    config: DictConfig, made: Mapping[str, Any], metrics: MetricsRecord | None, licence: str | None
) -> Iterator[str]:
    names = {str(made.get("data", {}).get("name", ""))} | {
        str(stage.data.get("name", "")) for stage in config.get("stages", {}).values()
    }
    said = [
        "A score is a likeness, not an identity: two vehicles of one make and colour may score higher than one vehicle "
        "by day and by night. Let nobody be accused by it alone.",
        "Other cameras, countries, weather and vehicles than those of the data above were not measured.",
    ]
    if any("quickstart" in name or "render" in name for name in names):
        said.append("It was trained on rendered vehicles; its numbers say nothing about real traffic.")
    if metrics is not None and metrics.models[0].holdout:
        said.append("The numbers are of training identities that were put aside, not of the test set.")
    if licence is None:
        said.append("The licence of the weights is left open; the terms of the data bind whoever uses them.")
    yield "\n".join(f"- {line}" for line in said)


def _table(rows: list[tuple[str, Any]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _metrics(checkpoint: Path) -> MetricsRecord | None:
    """What its run has measured of this very checkpoint."""
    run = checkpoint.parents[2] if len(checkpoint.parents) > 2 else checkpoint.parent
    if not has_metrics(run):
        return None
    metrics = read_metrics(run)
    wanted = file_sha(checkpoint)
    return metrics if [model.checkpoint_sha for model in metrics.models] == [wanted] else None
