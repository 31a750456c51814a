"""How good probabilities are that were fitted to vehicles put aside, and to vehicles that were trained on.

    python -m scripts.calibration_sources <run folder> …

Each run was trained with `data.calibration=…`, so that one model has vehicles of both kinds; its images and its
embeddings folder are still there.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from src.data import build_tasks, image_path
from src.embed import Embedder
from src.evaluation.calibrating import calibration_rows, draw_evenly
from src.evaluation.task_probabilities import measure_probabilities
from src.retrieval import read_embeddings
from src.retrieval.probabilities.calibration import Source
from src.retrieval.probabilities.calibration_fit import fit_calibration

MOST = 2000


def main() -> None:
    """Prints a row a run, task and kind of vehicles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    print("| run | calibrated on | vehicles | kind | task | ECE, ten nearest | Brier | ECE, even odds | Brier | F1 |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for run in parser.parse_args().runs:
        compare(run)


def compare(run: Path) -> None:
    """Prints the rows of one run."""
    embeddings = read_embeddings(run / "embeddings")
    table = embeddings.table
    checkpoint = max(run.glob("stages/*/last.ckpt"), key=lambda path: path.stat().st_mtime)
    embed = Embedder(checkpoint, device="cpu")
    without = table.assign(split=table["split"].replace("calibration", "gone"))
    sources: dict[Source, np.ndarray] = dict(calibration_rows(part, 0) for part in (table, without))
    for source, candidates in sources.items():
        rows = draw_evenly(table, candidates, MOST)
        start = time.process_time()
        records = table.iloc[rows]
        paths = [image_path(table, row) for row in rows]
        features = embed(paths, records["domain"].tolist(), records["box"].tolist())
        names = np.unique(records["vehicle_id"].to_numpy(), return_inverse=True)[1].astype(np.int64)
        cameras, domains = (records[column].to_numpy() for column in ("camera_id", "domain"))
        fitted = time.process_time()
        calibration = fit_calibration(features, names, cameras, domains, source, 1.0)
        print(
            f"{len(rows)} images embedded in {fitted - start:.1f} CPU s, fitted in {time.process_time() - fitted:.1f}."
        )
        for task in build_tasks(table, **embeddings.meta.evaluation):
            measured = measure_probabilities(task, embeddings, calibration)
            if measured is None:
                continue
            near, pairs = measured.record.nearest, measured.record.pairs
            print(
                f"| {run.name} | {source} | {calibration.fit.vehicles} | {calibration.fit.kind} | {task.name} | "
                f"{near.ece:.3f} | {near.brier:.3f} | {pairs.ece:.3f} | {pairs.brier:.3f} | "
                f"{measured.record.refusal.f1:.3f} |"
            )


if __name__ == "__main__":
    main()
