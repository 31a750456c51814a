"""How fast and how exact a checkpoint's exported networks are on the CPU, against PyTorch as it is.

    OMP_NUM_THREADS=1 python -m scripts.benchmark_export <run>/stages/main/last.ckpt --clock cpu

Prints Markdown. The networks take turns, batch by batch, on images of the checkpoint's data set, so that whatever else
the machine does meets all of them; a ratio is the median over the rounds of PyTorch's time by the other's. Differences
and mAP (mean of the tasks) are of the whole test set. int8 is calibrated on training images. The loader's share is that
of reading and resizing an image in all that an image takes.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from statistics import fmean

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from src.checkpoints.engines import ENGINES, Run, open_network
from src.checkpoints.exportable import Exportable
from src.checkpoints.exporting import ENDINGS, load_exported
from src.checkpoints.restore import restore_for_embedding
from src.data import ReIDDataModule
from src.evaluation import reduced_exports
from src.evaluation.embedding import evaluation_data
from src.evaluation.reduced_exports import embedded, mean_ap
from src.runtime.command import CONF_DIR

PRECISIONS = ("float16", "int8")


def measure(networks: dict[str, Run], inputs: list[Tensor], args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each round, by network, after one that does not count."""
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(args.repeats + 1):
        for name, network in networks.items():
            start = clock()
            network(*inputs)
            seconds[name].append(clock() - start)
    return {name: rounds[1:] for name, rounds in seconds.items()}


def opened(folder: Path, inputs: tuple[str, ...]) -> dict[str, tuple[Run, Path]]:
    """The networks that an export has left, by what to call them, with their files."""
    found = {}
    for name, ending in ENDINGS.items():
        if name != "onnx":
            found[f"`{name}`"] = (load_exported(name, folder / f"net{ending}", inputs), folder / f"net{ending}")
    for precision, file in {"": "net.onnx", **{name: f"net.{name}.onnx" for name in PRECISIONS}}.items():
        for engine in ENGINES:
            name = f"`onnx` {precision} ({engine})".replace("  ", " ")
            found[name] = (open_network(engine, folder / file, inputs), folder / file)
    return found


def loader_seconds(data: ReIDDataModule, count: int) -> float:
    """Processor time of reading and resizing an image, mean of some."""
    dataset, rows = data.eval_dataset(), data.eval_rows[:count].tolist()
    start = time.process_time()
    for row in rows:
        dataset[row]
    return (time.process_time() - start) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    method = restore_for_embedding(args.checkpoint)
    data = evaluation_data(method, None, seed=0, workers=0, eval_batch_size=8)
    data.setup("test")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        said = [f"checkpoint={args.checkpoint}", f"out={folder}/net", f"format=[{','.join(ENDINGS)}]", "batches=[]"]
        with initialize_config_dir(CONF_DIR, version_base="1.3"):
            reduced_exports.run(compose("export", [*said, f"precision=[{','.join(PRECISIONS)}]", "calibrate=data"]))
        files = opened(Path(folder), method.inputs)
        sizes = {name: f"{file.stat().st_size / 2**20:.1f}" for name, (_, file) in files.items()}
        networks: dict[str, Run] = {"PyTorch": Exportable(method).eval()}
        networks |= {name: network for name, (network, _) in files.items()}
        features = {name: embedded(network, method, data) for name, network in networks.items()}
        rounds, dataset = [], data.eval_dataset()
        for count in args.batches:
            items = [dataset[row] for row in data.eval_rows[:count].tolist()]
            inputs = [torch.stack([torch.as_tensor(item[name]) for item in items]) for name in method.inputs]
            rounds.append((count, measure(networks, inputs, args)))
        reading = loader_seconds(data, 200)
    height, width = data.transforms.height_and_width
    print(f"\n{type(method).__name__}, {height} × {width}, {args.threads} threads, {len(data.eval_rows)} test images\n")
    speeds = " | ".join(f"images/s, {count} at once | × PyTorch" for count in args.batches)
    print(f"| network | MiB | differs by | mAP | {speeds} | loader's share |")
    print("|---|---|---|---|" + "---|---|" * len(args.batches) + "---|")
    for name in networks:
        difference = (features[name] - features["PyTorch"]).abs().max().item()
        cells = [name, sizes.get(name, ""), f"{difference:.1e}", f"{fmean(mean_ap(features[name], data).values()):.4f}"]
        for count, seconds in rounds:
            ratios = [one / other for one, other in zip(seconds["PyTorch"], seconds[name], strict=True)]
            speed = count / statistics.median(seconds[name])
            cells += [f"{speed:.1f}", f"{statistics.median(ratios):.2f}"]
        cells.append(f"{100 * reading / (reading + 1 / speed):.0f} %")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
