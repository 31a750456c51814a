"""The tables of the day a GPU is there: steps of every method and of fast-reid, DNDM's blocks, evaluation. Markdown.

    python -m scripts.benchmark_gpu --out outputs/gpu.md     # what `make test-gpu` runs, minutes
    python -m scripts.benchmark_gpu --device cpu --parts retrieval --sizes 100x2000 --rounds 1

Without a GPU it says so and measures nothing, unless it is told another device.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from scripts.benchmark_retrieval import Task, machine
from src.retrieval import RetrievalResult

SIZES = ["1678x11579", "3000x41861", "10000x138517"]  # VeRi-776, VERI-Wild small and large
PARTS = ("steps", "fastreid", "blocks", "retrieval")
RERANKED = 20_000  # the largest gallery that is re-ranked too


def output_of(module: str, *arguments: str) -> str:
    """What another benchmark prints."""
    command = [sys.executable, "-m", f"scripts.{module}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def steps(args: argparse.Namespace) -> str:
    """Time, images a second, the loader's share and memory of each method."""
    accelerator = "gpu" if args.device == "cuda" else "cpu"
    return output_of("benchmark_training", "--accelerator", accelerator, "--precisions", "32-true", "bf16-mixed")


def fastreid(args: argparse.Namespace) -> str:
    """BoT's step in fast-reid's loop and in ours; a sentence if fast-reid is not installed."""
    return output_of("benchmark_fastreid", "--backend", args.device, "--parts", "step")


def blocks(args: argparse.Namespace) -> str:
    """DSE and CCA beside their straightforward forms."""
    return output_of(
        "benchmark_blocks", "--device", args.device, "--dtype", "bfloat16", "--batch", "64", "--size", "256"
    )


def retrieval(args: argparse.Namespace) -> str:
    """Exact evaluation, and re-ranking of the smaller galleries."""
    rows = ["| queries × gallery | evaluation, s | re-ranking, s | mAP | re-ranked |", "|---|---|---|---|---|"]
    for size in args.sizes:
        task = Task(size, 2048, "trained")
        task.query, task.gallery, task.images = (x.to(args.device) for x in (task.query, task.gallery, task.images))
        evaluation, result = timed(task.evaluate, args.rounds)
        cells = [f"{len(task.query):,} × {len(task.gallery):,}", f"{evaluation:.2f}"]
        if len(task.gallery) <= RERANKED:
            reranking, reranked = timed(task.rerank, args.rounds)
            cells += [f"{reranking:.2f}", f"{result.mAP:.3f}", f"{reranked.mAP:.3f}"]
        else:
            cells += ["–", f"{result.mAP:.3f}", "–"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def timed(work: Callable[[], RetrievalResult], rounds: int) -> tuple[float, RetrievalResult]:
    """Median seconds after one round that is not counted; results are on the host, so nothing is under way."""
    result, seconds = work(), []
    for _ in range(rounds):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="QUERIESxGALLERY")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the tables go too")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU: torch.cuda.is_available() is false, and nothing was measured.")
        return
    name = torch.cuda.get_device_name() if args.device == "cuda" else "no GPU"
    text = f"{name}. {machine()}\n"
    for part in args.parts:
        text += f"\n## {part}\n\n{globals()[part](args)}\n"
        print(text, flush=True)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)


if __name__ == "__main__":
    main()
