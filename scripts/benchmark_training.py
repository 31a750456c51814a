"""How fast the methods train: images a second, the loader's share of a step, memory. Prints Markdown.

    python -m scripts.benchmark_training --precisions 32-true bf16-mixed            # a GPU if there is one
    OMP_NUM_THREADS=1 python -m scripts.benchmark_training --backbone efficientnet_lite0 --size 64 --batch 16 \
        --steps 3 --workers 0 --clock cpu

Lightning trains each method as `src.train` would: first on one batch that lies on the device already, then on batches
from the loader; the difference is what the loader costs. The first method is what the others are divided by: `bot`, a
ResNet-50 with cross-entropy and triplet loss, whose step differs from one without the triplet loss by one matrix of
distances. All methods get the same backbone and number of images, so that the ratios say what their own parts cost.

Every row is a process of its own. Memory is what the first training adds at its peak: on a GPU torch's allocated bytes,
weights included; on a CPU the resident set.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig, open_dict
from torch.utils.data import DataLoader, IterableDataset

from scripts.benchmark_blocks import resident
from scripts.benchmark_retrieval import machine
from src.checkpoints.restore import build_method
from src.config.schema import Stage
from src.data import ReIDDataModule
from src.methods.tta import Batch
from src.runtime.command import CONF_DIR
from src.training.stage import training_data

#: Method → what it is trained on here: rendered vehicles that come with the code.
METHODS = {
    "bot": "quickstart",
    "dndm": "quickstart",
    "dndm_released": "quickstart",
    "dfr_st": "quickstart",
    "vehiclenet": "quickstart",
    "attribute_guided": "quickstart_veri",
}
WARM_UP = 2


class Timer(Callback):
    """Seconds of all steps but the first `WARM_UP`, with the wait for their batches."""

    def __init__(self, cpu: bool) -> None:
        self._now = time.process_time if cpu else time.perf_counter
        self.seconds = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Starts after the warm-up and stops with the last step, when the device has done it all."""
        if trainer.global_step in (WARM_UP, trainer.max_steps):
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize()
            self.seconds = self._now() - self.seconds


class Repeated(IterableDataset[Batch]):
    """One batch for ever."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self._batch


class OneBatch(LightningDataModule):
    """The first batch of a data set, on the device already."""

    def __init__(self, data: ReIDDataModule, device: torch.device) -> None:
        super().__init__()
        batch = next(iter(data.train_dataloader()))
        self.batch = {name: value.to(device) for name, value in batch.items()}
        self.table, self.tasks = data.table, data.tasks

    def train_dataloader(self) -> DataLoader[Batch]:
        """It."""
        return DataLoader(Repeated(self.batch), batch_size=None)


def configured(method: str, args: argparse.Namespace) -> DictConfig:
    """The configuration of a short training."""
    overrides = [f"method={method}", f"data={METHODS[method]}", f"backbone={args.backbone}", f"workers={args.workers}"]
    overrides += [f"transforms.size={args.size}", "name=benchmark", "paths.data_dir=data", *args.overrides]
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    sampler = cfg.sampler
    with open_dict(cfg):
        if "day" in sampler:
            sampler.update(ids=args.batch // 8, day=4, night=4)
        elif "images" in sampler:
            sampler.update(ids=args.batch // 4, images=4)
        else:
            sampler.batch_size = args.batch
    return cfg


def step_seconds(
    method: LightningModule, source: LightningDataModule, precision: Any, args: argparse.Namespace
) -> float:
    """Seconds of a step of Lightning's loop, after a warm-up."""
    timer = Timer(args.clock == "cpu")
    trainer = Trainer(
        accelerator=args.accelerator,
        devices=1,
        precision=precision,
        max_steps=WARM_UP + args.steps,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[timer],
    )
    trainer.fit(method, source)
    return timer.seconds / args.steps


def measure(method_name: str, precision: Any, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step on a batch that is there, of a step with its loading, and bytes."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    cfg = configured(method_name, args)
    data = training_data(cfg, Stage(**cfg.stages.main))
    cuda = args.accelerator != "cpu" and torch.cuda.is_available()
    before = resident("VmRSS")
    method = build_method(cfg, data.num_classes, data.names)
    method.begin_stage(instantiate(cfg.optim, _convert_="all"), (), {})
    if not cuda:
        Path("/proc/self/clear_refs").write_text("5")
    there = step_seconds(method, OneBatch(data, torch.device("cuda" if cuda else "cpu")), precision, args)
    memory = torch.cuda.max_memory_allocated() if cuda else resident("VmHWM") - before
    return {"there": there, "loaded": step_seconds(method, data, precision, args), "memory": memory}


def table(args: argparse.Namespace) -> None:
    """Runs every case in a process of its own and prints the rows."""
    print(f"{args.backbone}, {args.steps} steps of {args.batch} images of {args.size}², {args.workers} loaders\n")
    print("| method | precision | images/s | step, s | batch on the device, s | loader's share | × | MB | × |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for precision in args.precisions:
        first: dict[str, float] = {}
        for method in args.methods:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder, "case.json")
                command = [sys.executable, "-m", "scripts.benchmark_training", *sys.argv[1:]]
                subprocess.run([*command, "--case", method, precision, str(out)], check=True, stdout=subprocess.DEVNULL)
                case: dict[str, float] = json.loads(out.read_text())
            first = first or case
            cells = [f"{args.batch / case['loaded']:.1f}", f"{case['loaded']:.3f}", f"{case['there']:.3f}"]
            cells += [f"{1 - case['there'] / case['loaded']:.0%}", f"{case['there'] / first['there']:.2f}"]
            cells += [f"{case['memory'] / 1e6:.0f}", f"{case['memory'] / first['memory']:.2f}"]
            print("|", " | ".join([method, precision, *cells]), "|", flush=True)
    device = torch.cuda.get_device_name() if args.accelerator != "cpu" and torch.cuda.is_available() else "no GPU"
    print(f"\n{device}, {args.clock} clock. {machine()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--precisions", nargs="+", default=["32-true"])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--batch", type=int, default=64, help="images of a step, a multiple of 8")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="loader processes")
    parser.add_argument("--accelerator", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--overrides", nargs="*", default=[], help="of the configuration: backbone.weights=null")
    parser.add_argument("--case", nargs=3, metavar=("METHOD", "PRECISION", "FILE"), help="measure one case into a file")
    args = parser.parse_args()
    if args.case:
        method, precision, file = args.case
        Path(file).write_text(json.dumps(measure(method, precision, args)))
    else:
        table(args)


if __name__ == "__main__":
    main()
