"""How fast a checkpoint's exported networks embed on the CPU, against PyTorch as it is.

    OMP_NUM_THREADS=1 python -m scripts.benchmark_export <run>/stages/main/last.ckpt --clock cpu

Prints Markdown. The networks take turns, batch by batch, so that whatever else the machine does meets all of them; a
ratio is the median over the rounds of PyTorch's time by the other's.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from src.checkpoints import exporting
from src.checkpoints.engines import Run
from src.checkpoints.exportable import Exportable, random_input
from src.checkpoints.exporting import ENDINGS, load_exported
from src.embed import Embedder
from src.runtime.command import CONF_DIR


def measure(networks: dict[str, Run], inputs: list[torch.Tensor], args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each round, by network, after one that does not count."""
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(args.repeats + 1):
        for name, network in networks.items():
            start = clock()
            network(*inputs)
            seconds[name].append(clock() - start)
    return {name: rounds[1:] for name, rounds in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    embedder = Embedder(args.checkpoint, device="cpu")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        said = [f"checkpoint={args.checkpoint}", f"out={folder}/net", f"format=[{','.join(ENDINGS)}]", "batches=[]"]
        with initialize_config_dir(CONF_DIR, version_base="1.3"):
            described = exporting.run(compose("export", said))
        names = [entry["name"] for entry in described["inputs"]]
        networks: dict[str, Run] = {"PyTorch": Exportable(embedder.method).eval()}
        networks |= {name: load_exported(name, Path(folder, f"net{ENDINGS[name]}"), names) for name in ENDINGS}
        print(f"\n{described['method']}, {embedder.size[0]} × {embedder.size[1]}, {args.threads} threads\n")
        print("| network | " + " | ".join(f"images/s, {count} at once | × PyTorch" for count in args.batches) + " |")
        print("|---|" + "---|---|" * len(args.batches))
        rounds = [
            (count, measure(networks, [random_input(name, count, embedder.size) for name in names], args))
            for count in args.batches
        ]
        for name in networks:
            cells = []
            for count, seconds in rounds:
                ratios = [one / other for one, other in zip(seconds["PyTorch"], seconds[name], strict=True)]
                speed = count / statistics.median(seconds[name])
                cells += [f"{speed:.1f}", f"{statistics.median(ratios):.2f}"]
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
