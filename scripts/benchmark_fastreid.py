"""The same work done by fast-reid and by this project, in turns: a training step, loading, evaluation. Markdown.

    uv pip install --no-deps fastreid yacs termcolor tabulate prefetch_generator tensorboard gdown
    OMP_NUM_THREADS=1 python -m scripts.benchmark_fastreid --backend cpu --size 128 --batch 16
    python -m scripts.benchmark_fastreid --parts step        # a GPU if there is one; part of `make test-gpu`

Both train BoT, a ResNet-50 with last stride 1, BNNeck, cross-entropy and batch-hard triplet loss, with Adam, on one
batch that is there already: fast-reid by its `SimpleTrainer`, this project by Lightning. Loading reads, resizes,
flips, pads, crops and erases. Evaluation is fast-reid's distance matrix and its Cython ranking, if that is compiled
(its folder `evaluation/rank_cylib`); both report the same mAP, or the script stops.

fast-reid 1.4.0 imports two names that torch and Python have dropped since; they are put back here. Without fast-reid
the script says so.
"""

import argparse
import collections
import importlib.util
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from scripts.benchmark_retrieval import Task, machine
from scripts.benchmark_training import WARM_UP, OneBatch, configured, step_seconds
from src.checkpoints.restore import build_method
from src.config.schema import Stage
from src.data import ReIDDataset, Transforms
from src.data.layouts import VeRi776
from src.data.table import image_path
from src.methods.optim import Optim
from src.training.stage import training_data

PARTS = ("step", "loading", "evaluate")
IMAGES = 300  # read in a round of loading


def put_back_old_names() -> None:
    """What fast-reid imports from torch and Python as they were in 2021."""
    six: Any = ModuleType("torch._six")
    six.string_classes, six.int_classes = (str,), (int,)
    sys.modules["torch._six"] = six
    for name in ("Mapping", "Sequence"):
        setattr(collections, name, getattr(collections.abc, name))


def step(args: argparse.Namespace) -> tuple[Callable[[], float], Callable[[], float], str]:
    """Seconds of one training step of each, on a CPU of its time; both see the same images and identities."""
    from fastreid.config import get_cfg
    from fastreid.engine.train_loop import SimpleTrainer
    from fastreid.modeling import build_model
    from fastreid.utils.events import EventStorage

    device = torch.device(args.backend)
    cfg = configured("bot", args)
    data = training_data(cfg, Stage(**cfg.stages.main))
    one = OneBatch(data, device)

    options = ["MODEL.DEVICE", args.backend, "MODEL.HEADS.NUM_CLASSES", data.num_classes, "MODEL.HEADS.WITH_BNNECK"]
    options += [True, "MODEL.LOSSES.NAME", ("CrossEntropyLoss", "TripletLoss"), "MODEL.LOSSES.CE.EPSILON", 0.1]
    options += ["MODEL.LOSSES.TRI.HARD_MINING", True]
    theirs_cfg = get_cfg()
    theirs_cfg.merge_from_list(options)
    model = build_model(theirs_cfg)

    def endless() -> Iterator[dict[str, torch.Tensor]]:
        while True:  # its network normalises floats in place
            yield {"images": one.batch["image"].float(), "targets": one.batch["label"]}

    trainer = SimpleTrainer(model, endless(), torch.optim.Adam(model.parameters(), 3.5e-4, weight_decay=5e-4), None)

    def clock() -> float:
        if args.backend == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def theirs() -> float:
        with EventStorage(0):
            for number in range(WARM_UP + args.steps):
                if number == WARM_UP:
                    start = clock()
                trainer.run_step()
            return (clock() - start) / args.steps

    method = build_method(cfg, data.num_classes, data.names)
    method.begin_stage(Optim(optimizer=lambda groups: torch.optim.Adam(groups, 3.5e-4, weight_decay=5e-4)), (), {})

    return theirs, lambda: step_seconds(method, one, "32-true", args), f"step, {args.batch} images of {args.size}², s"


def loading(args: argparse.Namespace) -> tuple[Callable[[], float], Callable[[], float], str]:
    """CPU seconds an image of reading and augmenting, without loader processes."""
    from fastreid.config import get_cfg
    from fastreid.data.common import CommDataset
    from fastreid.data.transforms import build_transforms

    folder = Path("data/quickstart_veri")
    table = VeRi776(folder, folder.name).read().head(IMAGES)
    size = [args.size, args.size]
    theirs_cfg = get_cfg()
    theirs_cfg.merge_from_list(["INPUT.SIZE_TRAIN", size, "INPUT.PADDING.ENABLED", True, "INPUT.REA.ENABLED", True])
    items = [(str(image_path(table, row)), str(table["vehicle_id"].iloc[row]), "0") for row in range(len(table))]
    sets = CommDataset(items, build_transforms(theirs_cfg)), ReIDDataset(table, Transforms(size=args.size).training())

    def reading(images: Any) -> Callable[[], float]:
        def read() -> float:
            start = time.process_time()
            for number in range(len(items)):
                images[number]
            return (time.process_time() - start) / len(items)

        return read

    theirs, ours = map(reading, sets)
    return theirs, ours, f"loading an image to {args.size}², s"


def evaluate(args: argparse.Namespace) -> tuple[Callable[[], float], Callable[[], float], str]:
    """CPU seconds of evaluating features, and whether both say the same."""
    from fastreid.evaluation.rank import IS_CYTHON_AVAI, evaluate_rank
    from fastreid.utils.compute_dist import build_dist

    task = Task(args.features, 2048, "trained")
    (query_ids, gallery_ids), (query_cameras, gallery_cameras) = task.labels
    found: dict[str, float] = {}

    def theirs() -> float:
        start = time.process_time()
        distances = build_dist(task.query, task.gallery, "cosine")
        precisions = evaluate_rank(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)[1]
        found["theirs"] = float(np.mean(precisions))
        return time.process_time() - start

    def ours() -> float:
        start = time.process_time()
        found["ours"] = task.evaluate().mAP
        if abs(found["ours"] - found.get("theirs", found["ours"])) > 1e-5:
            raise SystemExit(f"The evaluators differ in mAP: {found}.")
        return time.process_time() - start

    ranking = "Cython" if IS_CYTHON_AVAI else "Python"
    return theirs, ours, f"evaluating {args.features}, 2048 dimensions, its {ranking}, s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--backend", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64, help="images of a step, a multiple of 4")
    parser.add_argument("--steps", type=int, default=4, help="timed in each round")
    parser.add_argument("--features", default="1678x11579", metavar="QUERIESxGALLERY")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    args.accelerator, args.clock = ("gpu", "wall") if args.backend == "cuda" else ("cpu", "cpu")
    args.backbone, args.workers, args.overrides = "resnet50", 0, ["backbone.weights=null"]
    if importlib.util.find_spec("fastreid") is None:
        print("fast-reid is not installed: see the first lines of scripts/benchmark_fastreid.py.")
        return
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    put_back_old_names()
    print("| work | fast-reid | ours | ours / fast-reid |\n|---|---|---|---|")
    for part in args.parts:
        theirs, ours, what = globals()[part](args)
        rounds = [(theirs(), ours()) for _ in range(args.rounds)]
        cells = [f"{statistics.median(column):.3g}" for column in zip(*rounds, strict=True)]
        ratio = statistics.median(our / their for their, our in rounds)
        print("|", " | ".join([what, *cells, f"{ratio:.2f}"]), "|", flush=True)
    print(f"\nMedians of {args.rounds} rounds in turns. {machine()}")


if __name__ == "__main__":
    main()
