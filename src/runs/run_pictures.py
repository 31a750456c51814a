"""The pictures of one run, each as a section of a page: drawn, or left out with the reason."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.checkpoints.restore import restore_method, saved_transforms
from src.data import ReIDDataset, build_tasks, known, training_records
from src.evaluation.rank_list_files import choose_rank_lists, write_rank_lists
from src.evaluation.task_results import evaluate_task
from src.figures.attention_maps import write_attention
from src.figures.curves import draw_curves
from src.figures.distance_histogram import draw_distances, draw_vehicles, pair_distances
from src.figures.embedding_map import choose_images, draw_embedding_map
from src.figures.falling_curves import draw_falling_curves, falling_curves
from src.figures.trips import draw_trips
from src.retrieval import Embeddings
from src.runs.html_page import Picture, Section
from src.runs.run_contents import FinishedRun

_QUERIES, _PLACES = 6, 8


def rank_lists(run: FinishedRun, folder: Path) -> Section:
    """Those that the run has drawn; else drawn from its embeddings."""
    title = "Rank lists"
    caption = "Grey: the query. Green frame and ✓: the same vehicle. Vermilion frame and ✗: another one."
    note = ""
    if not (drawn := sorted(run.path.glob("figures/rank_list_*.png"))):
        if isinstance(run.embeddings, str):
            return _left_out(title, run.embeddings)
        model = run.embeddings
        try:
            tasks = build_tasks(model.table, **model.meta.evaluation)
            results = {task.name: evaluate_task(task, [model], top_k=_PLACES) for task in tasks}
            lists = choose_rank_lists(results, model.table, _QUERIES, _PLACES)
            write_rank_lists(folder, lists, results, model.table)
        except ValueError as error:
            return _left_out(title, str(error))
        drawn = sorted(folder.glob("rank_list_*.png"))
        note = "Drawn from the embeddings, without post-processing."
    if not drawn:
        return _left_out(title, "the images are no longer there, or no task ranks single images")
    pictures = [Picture(path, f"{path.stem.removeprefix('rank_list_').replace('_', ' ')}. {caption}") for path in drawn]
    return Section(title, pictures=pictures, notes=[note] if note else [])


def distances(run: FinishedRun, folder: Path) -> Section:
    """Histograms of the distances within and between vehicles, of all pairs and of those of day and night."""
    title = "Distances"
    if isinstance(run.embeddings, str):
        return _left_out(title, run.embeddings)
    features, ids, domains = _test_images(run.embeddings)
    if len(np.unique(ids)) < 2:
        return _left_out(title, "the test images show fewer than two vehicles that are known")
    places = draw_vehicles(ids)
    features, ids, domains, whole = features[places], ids[places], domains[places], len(ids)
    vehicles = f"{len(ids):,} of {whole:,} test images, all those of {len(np.unique(ids)):,} randomly drawn vehicles"
    some = "all test images" if len(ids) == whole else f"{vehicles} (seed 0)"
    kinds: dict[str, tuple[str, NDArray[np.object_] | None]] = {"distances.png": ("All pairs", None)}
    if {"day", "night"} <= set(domains):
        kinds["distances_day_night.png"] = ("Pairs of day and night", domains)
    pictures, notes = [], []
    for name, (kind, apart) in kinds.items():
        pairs = pair_distances(features, ids, apart)
        if not len(pairs.same) or not len(pairs.others):
            notes.append(f"{kind} are left out: none is of the same vehicle, or none of different ones.")
            continue
        draw_distances(pairs, kind, folder / name)
        counts = f"{len(pairs.same):,} pairs of the same vehicle, {len(pairs.others):,} of different ones, of {some}"
        counts += f"; {pairs.copies:,} pairs of copies left out" if pairs.copies else ""
        pictures.append(Picture(folder / name, f"{kind}: {counts}."))
    return Section(title, pictures=pictures, notes=notes)


def embedding_map(run: FinishedRun, folder: Path, vehicles: int) -> Section:
    """Some vehicles' embeddings on a plane."""
    title = "Map of embeddings"
    if isinstance(run.embeddings, str):
        return _left_out(title, run.embeddings)
    features, ids, domains = _test_images(run.embeddings)
    places = choose_images(ids, domains, vehicles)
    if len(places) < 4:
        return _left_out(title, "there are no four test images of vehicles seen twice")
    draw_embedding_map(features[places], ids[places], domains[places], folder / "embedding_map.png")
    numbers = f"{len(np.unique(ids[places]))} of {len(np.unique(ids)):,} vehicles, each with its number"
    marks = "; dots by day, crosses by night" if (domains[places] == "night").any() else ""
    caption = f"t-SNE (seed 0) of {len(places):,} test images of {numbers}{marks}. Only what is near means something."
    return Section(title, pictures=[Picture(folder / "embedding_map.png", caption)])


def attention(run: FinishedRun, folder: Path, count: int) -> Section:
    """Heat maps over test images: those that the run has drawn; else drawn with its checkpoint."""
    title = "Attention"
    if not (drawn := sorted(run.path.glob("figures/attention*.png"))):
        if isinstance(run.embeddings, str):
            return _left_out(title, run.embeddings)
        if isinstance(run.checkpoint, str):
            return _left_out(title, run.checkpoint)
        if count == 0:
            return _left_out(title, "attention=0")
        drawn = [folder / "attention.png"]
        try:
            method = restore_method(run.checkpoint)
            dataset = ReIDDataset(run.embeddings.table, saved_transforms(method).evaluation())
            write_attention(drawn[0], method, dataset, run.embeddings.rows, count)
        except ValueError as error:  # images that cannot be read, a checkpoint of somebody else
            return _left_out(title, str(error))
    caption = (
        "Where features are strong: the mean of their squares over the channels, each map from its least to its most."
    )
    return Section(title, pictures=[Picture(path, caption) for path in drawn])


def curves(run: FinishedRun, folder: Path) -> Section:
    """Loss and validation of each stage."""
    title = "Training"
    baseline = {task: result.mAP for task, result in run.metrics.untrained.items()}
    pictures = []
    for stage in _stages(run):
        out = folder / f"curves_{stage.name}.png"
        draw_curves(stage, out, baseline)
        pictures.append(Picture(out, f"Stage {stage.name}."))
    if not pictures:
        return _left_out(title, "there is no stages/<stage>/metrics.csv, as in a run that has trained nothing")
    return Section(title, pictures=pictures)


def _stages(run: FinishedRun) -> list[Path]:
    """Folders of the stages that have logged, in the order in which they were trained."""
    folders = {log.parent.name: log.parent for log in sorted(run.path.glob("stages/*/metrics.csv"))}
    order: Mapping[str, Any] = run.metrics.config.get("stages", {})
    return [folders[name] for name in order if name in folders]


def trip_densities(run: FinishedRun, folder: Path) -> Section:
    """Times and roads between sightings in training, with the densities fitted to them."""
    title = "Trips between cameras"
    if isinstance(run.embeddings, str):
        return _left_out(title, run.embeddings)
    draw_trips(training_records(run.embeddings.table), run.embeddings.camera_distances, folder / "trips.png")
    if not (folder / "trips.png").is_file():
        return _left_out(title, "too few training images whose vehicle, camera and time are known")
    caption = "Training images of one vehicle in two cameras, and what the spatio-temporal term is fitted to."
    pictures = [Picture(folder / "trips.png", caption)]
    options = run.metrics.config.get("retrieval", {}).get("spatio_temporal", {})
    if "spatial_slope" in options:
        draw_falling_curves(falling_curves(options), folder / "falling_curves.png")
        caption = "What the term makes of a trip's density, among the curves that DFR-ST's Fig. 9 shows (grey)."
        pictures.append(Picture(folder / "falling_curves.png", caption))
    return Section(title, pictures=pictures)


def roc(run: FinishedRun) -> list[Section]:
    """True against false acceptance, if the run has measured it."""
    path = run.path / "figures" / "roc.png"
    return [Section("Same vehicle or not", pictures=[Picture(path, "Of all pairs.")])] if path.is_file() else []


def _test_images(model: Embeddings) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.object_]]:
    """Features, vehicles and domains of the embedded images whose vehicle is known."""
    table = model.table.loc[model.rows]
    kept = known(table, "vehicle_id")
    return (
        model.features.numpy()[kept],
        table["vehicle_id"].to_numpy()[kept],
        table["domain"].to_numpy(dtype=object)[kept],
    )


def _left_out(title: str, reason: str) -> Section:
    return Section(title, notes=[f"Left out: {reason.removesuffix('.')}."])
