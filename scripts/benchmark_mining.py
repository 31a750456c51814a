"""What identity mining costs, beside the matrix product that it cannot avoid.

    OMP_NUM_THREADS=1 python -m scripts.benchmark_mining --sizes 1000x18000

Made-up features of vehicles, as in `benchmark_retrieval`. The floor is oneDNN's product of the chosen queries with all
images, in the best of several block shapes. In CPU seconds, so that whatever else the machine does hardly counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from scripts.benchmark_retrieval import Task, fastest_product, machine, onednn_product, peak_memory
from src.retrieval import Mining, mine_identities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1000x18000"], metavar="QUERIESxGALLERY")
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print("| queries × gallery | chosen | product, s | mining, s | × | memory above the features, MB |")
    print("|---|---|---|---|---|---|")
    for size in arguments.sizes:
        print("|", " | ".join(line(Task(size, arguments.dimensions, "trained"), arguments.rounds)), "|", flush=True)
    print(f"\nMedians of {arguments.rounds} rounds, {arguments.dimensions} dimensions. {machine()}")


def line(task: Task, rounds: int) -> list[str]:
    def mine() -> None:
        mine_identities(task.images, len(task.query), Mining())

    before = peak_memory()
    chosen = mine_identities(task.images, len(task.query), Mining()).representatives
    memory = (peak_memory() - before) / 1e6
    product = fastest_product(task.query[chosen], task.images, [onednn_product])
    times = [(cpu_seconds(product), cpu_seconds(mine)) for _ in range(rounds)]
    floor, mining = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(mining / floor for floor, mining in times)
    size = f"{len(task.query):,} × {len(task.gallery):,}"
    return [size, f"{len(chosen):,}", f"{floor:.2f}", f"{mining:.2f}", f"{ratio:.2f}", f"{memory:.0f}"]


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


if __name__ == "__main__":
    main()
